// expect: preheat: optim::masked masks the ranks of A and B, and this adapter trains neither; use adapter::lora
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 4), be.zeros(4, 4));
  auto report = fit(with<shira, optim::masked<>>{}, net, net.batches(), {.rank = 1});
  return int(report.losses.size());
}
