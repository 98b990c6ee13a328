// expect: preheat: batches must have void load(generator stream, index_t step, batch_type&)
#include "paper.hpp"

using namespace preheat;

struct silent_batches {};

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(lora{}, net, silent_batches{}, {.rank = 2});
  return int(report.losses.size());
}
