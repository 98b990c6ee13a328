// expect: preheat: a method holds no method; write init::pissa, or with<pissa, optim::sgd>
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<pissa, optim::sgd>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
