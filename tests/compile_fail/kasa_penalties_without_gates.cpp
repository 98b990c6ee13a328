// expect: preheat: optim::kasa_penalties shrinks learned gates; use adapter::gated<>
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 4), be.zeros(4, 4));
  auto report = fit(method<optim::kasa_penalties<>>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
