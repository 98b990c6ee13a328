// expect: preheat: this adapter shares its parameters between ranks and cannot change its rank
#include "paper.hpp"

using namespace preheat;

struct halved : rank::fixed {
  template <class Run>
  void on(hook::after_step, Run& run) const {
    run.select_ranks(0, {0}, 0);
  }
};

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(with<prolora, halved>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
