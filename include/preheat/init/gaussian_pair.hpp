// The start of AdaLoRA (Zhang et al., "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient
// Fine-Tuning", arXiv 2303.10512): both factors are random,
//
//   A, B ~ N(0, σ²), independent,   σ = 0.02 as in published code and [PEFT],
//
// for an adapter whose gates start at zero, so that the output is unchanged. With another adapter
// (adapter::lora) the output changes by s·B·A. A is r×n, B is m×r. Errors: σ <= 0. Cost: one pass
// over the factors.
#pragma once
#include "../linalg/random_matrix.hpp"

namespace preheat::init {

struct gaussian_pair {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::nonzero;

  double sigma = 0.02;

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    require(sigma > 0, "init::gaussian_pair: standard deviation > 0", sigma, 0.0);
    return {linalg::normal(be, s.rank, s.W.cols(), sigma, s.gen.fork(purpose::factors, 0)),
            linalg::normal(be, s.W.rows(), s.rank, sigma, s.gen.fork(purpose::factors, 1))};
  }
};

}  // namespace preheat::init
