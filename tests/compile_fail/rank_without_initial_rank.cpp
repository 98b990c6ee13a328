// expect: preheat: the rank policy lacks a member of concept rank_policy (core/rank_chain.hpp; the note below names it)
// note: initial_rank
#include "paper.hpp"

using namespace preheat;

struct doubled {
  using axis = axes::rank;
  template <class Be>
  using state = no_state<Be>;
};

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<doubled>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
