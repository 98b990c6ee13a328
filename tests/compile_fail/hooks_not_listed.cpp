// expect: preheat: a policy must declare its hooks: add `using hooks = hook_list<>;`
#include <preheat/preheat.hpp>

using namespace preheat;

struct linear_rank {
  using axis = axes::rank;
  template <class Be>
  using state = no_state<Be>;
  index_t of(index_t, index_t, index_t wanted) const { return wanted; }
};

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(method<linear_rank>{}, net, net.batches(), {.rank = 2});
}
