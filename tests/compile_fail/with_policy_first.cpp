// expect: preheat: with<method, policy> takes a method first
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(with<init::pissa, lora>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
