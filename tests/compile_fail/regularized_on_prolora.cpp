// expect: preheat: optim::regularized penalizes the factors A and B; this
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(with<prolora, optim::regularized<>>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
