// expect: preheat: init::hrp reads the product B*A of its preheating method; give it one with factors
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 4), be.zeros(4, 4));
  auto report = fit(hrp<hira>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
