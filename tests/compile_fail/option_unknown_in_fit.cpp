// expect: no matching function for call to 'fit
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(lora{}, net, net.batches(), {.rank = 2, .alpha = 16});
  return int(report.losses.size());
}
