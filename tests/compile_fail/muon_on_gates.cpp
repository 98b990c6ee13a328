// expect: preheat: optim::muon moves matrices, and this adapter trains vectors
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 4), be.zeros(4, 4));
  auto report = fit(method<adapter::gated<>, optim::muon>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
