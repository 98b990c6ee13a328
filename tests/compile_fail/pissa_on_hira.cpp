// expect: preheat: this adapter is not made of factors and takes no init; drop the init
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 4), be.zeros(4, 4));
  auto report = fit(with<hira, init::pissa>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
