// expect: preheat: this adapter shares its factors between layers and cannot change the rank of one
#include <preheat/preheat.hpp>

using namespace preheat;

struct halved : rank::fixed {
  template <class Run>
  void on(hook::after_step, Run& run) const {
    run.select_ranks(0, {0}, 0);
  }
};

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(with<vera, halved>{}, net, net.batches(), {.rank = 2});
}
