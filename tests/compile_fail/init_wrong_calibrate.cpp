// expect: preheat: an init that learns from the data needs std::vector<calibration<Be>> calibrate(Context& context) const
#include "paper.hpp"

using namespace preheat;

// calibrate returns one number per layer, and calibration<Be> is a matrix.
struct mean_input {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;
  template <class Be>
  using calibration = mat<Be>;
  index_t calibration_steps(index_t) const { return 1; }
  template <class Context>
  std::vector<double> calibrate(Context& context) const {
    return std::vector<double>(context.layers().size());
  }
  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s, const mat<Be>&) const {
    return {be.zeros(s.rank, s.W.cols()), be.zeros(s.W.rows(), s.rank)};
  }
};

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<mean_input>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
