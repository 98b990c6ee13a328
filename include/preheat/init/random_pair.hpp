// Init[AB] (Li et al., "Beyond Zero Initialization: Investigating the Impact of Non-Zero Initialization on
// LoRA Fine-Tuning Dynamics", ICML 2025, arXiv 2505.23194): both factors are random, and their product is
// subtracted from W, so that the output is unchanged and both learn from the first step:
//
//   A ~ U(±c_A/√n),  B ~ U(±c_B/√n),  W ← W − s·B·A,  both by the fan-in n of the layer
//
// as in the code of "Learning Rate Matters" (arXiv 2602.04998), where c_A = c_B = 1 for its curvature. A is
// r×n, B m×r. Errors: c <= 0. Cost: one pass over the factors, and 2·m·n·r operations for W.
#pragma once
#include <cmath>

#include "../linalg/random_matrix.hpp"

namespace preheat::init {

struct random_pair {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::residual;

  double size_a = 1;  // c_A
  double size_b = 1;  // c_B

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    require(size_a > 0 && size_b > 0, "init::random_pair: size_a, size_b > 0", size_a, size_b);
    const double root = std::sqrt(double(s.W.cols()));
    return {
        linalg::uniform(be, s.rank, s.W.cols(), size_a / root, s.gen.fork(purpose::factors, 0)),
        linalg::uniform(be, s.W.rows(), s.rank, size_b / root, s.gen.fork(purpose::factors, 1))};
  }
};

}  // namespace preheat::init
