// expect: preheat: the init lacks a member of concept init_policy (core/init.hpp; the note below names it)
// note: init(be, s)
#include "paper.hpp"

using namespace preheat;

// Nothing says what A and B are.
struct unit_rows {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;
};

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<unit_rows>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
