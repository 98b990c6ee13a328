// expect: preheat: rank::ablation sets gates to zero to measure their effect; use adapter::gated<adapter::gate
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<rank::ablation>{}, net, net.batches(), {.rank = 2}, {});
  return int(report.losses.size());
}
