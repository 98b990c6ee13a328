// expect: preheat: this method scores itself on a validation batch. Pass the batch as the last
#include "paper.hpp"

using namespace preheat;

// Ends the run when the validation loss is small.
struct until_good : rank::fixed {
  template <class Run>
  void on(hook::after_step, Run& run) const {
    if (run.validation_loss() < 0.1) {
      run.finish_early();
    }
  }
};

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<until_good>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
