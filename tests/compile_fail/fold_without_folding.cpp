// expect: preheat: only a chain that says `static constexpr bool folds = true` may fold
#include <preheat/preheat.hpp>

using namespace preheat;

struct secret_merge : chain::none {
  using hooks = hook_list<hook::finish>;
  template <class Run>
  void finish(Run& run) const {
    run.fold(run.targets());
  }
};

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(method<secret_merge>{}, net, net.batches(), {.rank = 2});
}
