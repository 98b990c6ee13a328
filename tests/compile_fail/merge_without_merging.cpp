// expect: preheat: only a chain that says `static constexpr bool merges = true` may merge
#include "paper.hpp"

using namespace preheat;

struct secret_merge : chain::none {
  template <class Run>
  void on(hook::finish, Run& run) const {
    run.merge(run.targets());
  }
};

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<secret_merge>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
