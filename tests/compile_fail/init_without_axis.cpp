// expect: preheat: a method is made of policies, types that name their axis
#include "paper.hpp"

using namespace preheat;

struct unit_rows {
  static constexpr initial_product product = initial_product::zero;

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    return {be.zeros(s.rank, s.W.cols()), be.zeros(s.W.rows(), s.rank)};
  }
};

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<unit_rows>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
