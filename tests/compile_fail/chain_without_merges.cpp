// expect: preheat: the chain policy lacks a member of concept chain_policy (core/rank_chain.hpp; the note below names it)
// note: merges
#include "paper.hpp"

using namespace preheat;

struct idle {
  using axis = axes::chain;
  template <class Be>
  using state = no_state<Be>;
};

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<idle>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
