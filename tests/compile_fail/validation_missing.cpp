// expect: preheat: this method scores itself on a validation batch. Pass the batch as the last
#include <preheat/preheat.hpp>

using namespace preheat;

// Ends the run when the validation loss is small.
struct until_good : rank::fixed {
  using hooks = hook_list<hook::after_step>;
  template <class Run>
  void after_step(Run& run) const {
    if (run.validation_loss() < 0.1) {
      run.finish_early();
    }
  }
};

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(method<until_good>{}, net, net.batches(), {.rank = 2});
}
