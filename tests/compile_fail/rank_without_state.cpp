// expect: preheat: the rank policy lacks `template <class Be> using state`; one that keeps nothing has no_state<Be>
#include "paper.hpp"

using namespace preheat;

struct doubled {
  using axis = axes::rank;
  index_t initial_rank(index_t, index_t, index_t wanted) const { return 2 * wanted; }
};

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<doubled>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
