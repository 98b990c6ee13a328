// expect: preheat: optim::lora_pro moves both factors; with one frozen use optim::scaled
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(with<lora_pro_sgd, adapter::asymmetric<parameter_role::B>>{}, net,
                    net.batches(), {.rank = 2});
  return int(report.losses.size());
}
