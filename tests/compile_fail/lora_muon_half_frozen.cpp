// expect: preheat: optim::lora_muon moves a pair (A, B) and nothing else; use adapter::lora
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 4), be.zeros(4, 4));
  auto report = fit(with<lora_muon, adapter::asymmetric<parameter_role::B>>{}, net, net.batches(),
                    {.rank = 2});
  return int(report.losses.size());
}
