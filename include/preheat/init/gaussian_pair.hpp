// AdaLoRA's start (Zhang et al., "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient
// Fine-Tuning", arXiv 2303.10512): both factors random,
//
//   A, B ~ N(0, σ²), independent,   σ = 0.02 as published code and PEFT have it
//
// for an adapter that starts closed, so that the output is unchanged all the same. With one that
// does not (adapter::lora) the output moves by s·B·A. A is r×n, B is m×r.
// Errors: σ <= 0. Cost: one pass over the factors.
#pragma once
#include "../linalg/random_matrix.hpp"

namespace preheat::init {

struct gaussian_pair {
  using axis = axes::init;
  using hooks = hook_list<>;
  static constexpr start product = start::added;
  static constexpr evidence_kind needs = evidence_kind::none;

  double sigma = 0.02;

  template <backend Be>
  factors<Be> operator()(Be& be, const site<Be>& s) const {
    require(sigma > 0, "init::gaussian_pair: standard deviation > 0", sigma, 0.0);
    return {linalg::normal(be, s.rank, s.W.cols(), sigma, s.gen.fork(purpose::factors, 0)),
            linalg::normal(be, s.W.rows(), s.rank, sigma, s.gen.fork(purpose::factors, 1))};
  }
};

}  // namespace preheat::init
