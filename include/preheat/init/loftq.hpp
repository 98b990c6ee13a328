// LoftQ ("LoftQ: LoRA-Fine-Tuning-Aware Quantization for Large Language Models", arXiv 2310.08659):
// the base weight is quantized and the factors start at what the quantization loses. From
// B·A = 0, `iterations` times,
//
//   Q = NF4(W − s·B·A),   W − Q = U·S·Vᵀ,   A = √(S/s)·Vᵀ (r×n),  B = U·√(S/s) (m×r),  first r;
//
// then W ← Q. Here s·B·A approximates W − Q, so that the adapted layer is as close to W as its rank
// allows at any s = α/r. PEFT leaves s out, A = √S·Vᵀ and B = U·√S, and is right at s = 1 only:
// `ignore_scaling` does as PEFT. Quantization is linalg::nf4_rounded, on the host.
//
// The step to the next Q need not gain, because the scale of a block of NF4 follows its largest
// entry. `keep_best` (ours) takes, of all (Q, A, B) met, the one with the least ‖W − Q − s·B·A‖,
// which then never grows with `iterations`; without it the last one is taken, as published. One
// iteration is PEFT's default, and the same either way.
//
// Errors: iterations < 1; rank < 1 or rank > min(m, n); s <= 0; NaN or infinity in W. A W that is
// its own quantization (zero is) gives A = 0 and B = 0 to rounding, which hardly train.
// Cost: an exact SVD an iteration, O(m·n·min(m, n)); memory for four matrices of W's size.
#pragma once
#include <cmath>
#include <limits>
#include <utility>

#include "../linalg/nf4.hpp"
#include "pissa.hpp"

namespace preheat::init {

struct loftq {
  using axis = axes::init;
  using hooks = hook_list<>;
  static constexpr start product = start::replaced;
  static constexpr evidence_kind needs = evidence_kind::weight;

  index_t iterations = 1;
  bool ignore_scaling = false;
  bool keep_best = true;

  template <backend Be>
  replacement<Be> operator()(Be& be, const site<Be>& s) const {
    using T = scalar_of<Be>;
    require(iterations >= 1, "init::loftq: iterations >= 1", iterations, 1);
    linalg::require_finite(be, s.W, "init::loftq: W");
    const T scaling = ignore_scaling ? T(1) : s.scaling;
    mat<Be> target = clone<Be>(be, s.W);  // W − s·B·A
    replacement<Be> best;
    double least = std::numeric_limits<double>::infinity();
    for (index_t i = 0; i < iterations; ++i) {
      replacement<Be> now;
      now.W = linalg::nf4_rounded<Be>(be, target);
      mat<Be> rest = clone<Be>(be, s.W);
      be.each(linalg::axpby<T>{-1, 1}, rest, now.W);  // W − Q
      now.f = detail::split_evenly(be, linalg::truncated_svd<Be>(be, rest, s.rank), scaling);
      be.copy(op::none, s.W, target);
      be.gemm(-scaling, op::none, now.f.B, op::none, now.f.A, 1, target);
      be.gemm(-scaling, op::none, now.f.B, op::none, now.f.A, 1, rest);
      const double error = std::sqrt(double(be.dot(rest, rest)));
      if (error < least || !keep_best) {
        least = error;
        best = std::move(now);
      }
    }
    return best;
  }
};

}  // namespace preheat::init
