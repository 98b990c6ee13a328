// expect: preheat: rank::sparse_gate drops the ranks whose gates are zero; use adapter::gated<>
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<rank::sparse_gate>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
