// expect: preheat: the init lacks a member of concept init_policy (core/init.hpp; the note below names it)
#include "paper.hpp"

using namespace preheat;

// A alone is no start: B is missing.
struct unit_rows {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;

  template <backend Be>
  mat<Be> operator()(Be& be, const target_layer<Be>& s) const {
    return be.zeros(s.rank, s.W.cols());
  }
};

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<unit_rows>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
