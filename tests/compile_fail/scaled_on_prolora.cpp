// expect: preheat: optim::scaled preconditions a pair (A, B); use an adapter that holds one
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(with<prolora, optim::scaled<>>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
