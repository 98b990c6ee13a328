// expect: preheat: optim::lora_pro moves a pair (A, B) together; use adapter::lora
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 4), be.zeros(4, 4));
  auto report = fit(with<lora_pro_sgd, adapter::hira>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
