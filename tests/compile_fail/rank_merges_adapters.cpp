// expect: merge
#include "paper.hpp"

using namespace preheat;

struct secret_merge : rank::fixed {
  template <class Run>
  void on(hook::after_step, Run& run) const {
    run.adapters.merge(0);
  }
};

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<secret_merge>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
