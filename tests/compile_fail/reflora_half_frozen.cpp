// expect: preheat: optim::reflora balances a pair (A, B) of trained factors; use adapter::lora
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 4), be.zeros(4, 4));
  auto report =
      fit(with<reflora, adapter::asymmetric<parameter_role::A>>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
