// expect: preheat: a policy declares a hook that it does not have: spell the member like its tag
#include <preheat/preheat.hpp>

using namespace preheat;

struct counting_rank : rank::fixed {
  using hooks = hook_list<hook::after_step>;
  template <class Run>
  void after_stp(Run&) const {}
};

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(method<counting_rank>{}, net, net.batches(), {.rank = 2});
}
