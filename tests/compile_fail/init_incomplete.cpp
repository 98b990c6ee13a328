// expect: preheat: the init lacks a member of concept init_policy (core/concepts.hpp)
#include <preheat/preheat.hpp>

using namespace preheat;

// It needs a gradient, and has no operator() that takes one.
struct by_gradient {
  using axis = axes::init;
  using hooks = hook_list<>;
  static constexpr start product = start::zero;
  static constexpr evidence_kind needs = evidence_kind::gradient;
};

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(method<by_gradient>{}, net, net.batches(), {.rank = 2});
}
