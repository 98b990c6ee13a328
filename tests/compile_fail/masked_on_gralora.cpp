// expect: preheat: optim::masked picks ranks, and this adapter shares its parameters between ranks
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 4), be.zeros(4, 4));
  auto report = fit(with<gralora, optim::masked<>>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
