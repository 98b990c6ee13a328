// expect: preheat: this adapter shares its parameters between ranks
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto batches = net.batches();
  auto r = start_run(lora_xs{}, net, batches, {.rank = 2});
  r.select_ranks(0, {0}, 0);
}
