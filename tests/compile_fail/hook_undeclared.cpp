// expect: preheat: a policy has a hook that it does not declare: add it to `using hooks
#include <preheat/preheat.hpp>

using namespace preheat;

struct counting_rank : rank::fixed {
  using hooks = hook_list<>;
  template <class Run>
  void before_step(Run&) const {}
};

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(method<counting_rank>{}, net, net.batches(), {.rank = 2});
}
