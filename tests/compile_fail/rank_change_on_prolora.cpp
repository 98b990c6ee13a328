// expect: preheat: this adapter shares its parameters between ranks and cannot change its rank
#include <preheat/preheat.hpp>

using namespace preheat;

struct halved : rank::fixed {
  using hooks = hook_list<hook::after_step>;
  template <class Run>
  void after_step(Run& run) const {
    run.select_ranks(0, {0}, 0);
  }
};

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(with<prolora, halved>{}, net, net.batches(), {.rank = 2});
}
