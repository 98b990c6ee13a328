// LoftQ ("LoftQ: LoRA-Fine-Tuning-Aware Quantization for Large Language Models", arXiv 2310.08659).
// The base weight is quantized and the factors start at the error of the quantization. From B·A =
// 0, `iterations` times,
//
//   Q = NF4(W − s·B·A),   W − Q = U·S·Vᵀ,   A = √(S/s)·Vᵀ (r×n),  B = U·√(S/s) (m×r),  first r;
//
// then W ← Q. Here s·B·A approximates W − Q, so that the adapted layer is as close to W as its rank
// allows, for any s = α/r. [PEFT] leaves s out, with A = √S·Vᵀ and B = U·√S, which is right for s =
// 1 only; `ignore_scaling` does the same. The quantization is linalg::nf4_rounded, on the host.
//
// The next Q is not always better, because the scale of a block of NF4 follows its largest entry.
// [preheat] `keep_best` takes, of all (Q, A, B) computed, the one with the least ‖W − Q − s·B·A‖,
// so that this error never grows with `iterations`; without it the last one is taken [paper].
// [PEFT] has one iteration by default, for which both are the same.
//
// Errors: iterations < 1; rank < 1 or rank > min(m, n); s <= 0; NaN or infinity in W. A W that
// equals its own quantization (for example zero) gives A = 0 and B = 0 to rounding, which hardly
// train. Cost: an exact SVD per iteration, O(m·n·min(m, n)); memory for four matrices of W's size.
#pragma once
#include <cmath>
#include <limits>
#include <utility>

#include "../linalg/balanced_factors.hpp"
#include "../linalg/nf4.hpp"
#include "../linalg/truncated_svd.hpp"

namespace preheat::init {

struct loftq {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::new_base;

  index_t iterations = 1;
  bool ignore_scaling = false;
  bool keep_best = true;

  template <backend Be>
  replacement<Be> operator()(Be& be, const target_layer<Be>& s) const {
    using T = scalar_of<Be>;
    require(iterations >= 1, "init::loftq: iterations >= 1", iterations, 1);
    linalg::require_finite(be, s.W, "init::loftq: W");
    const T scaling = ignore_scaling ? T(1) : s.scaling;
    mat<Be> target = clone(be, s.W);  // W − s·B·A
    replacement<Be> best;
    double least = std::numeric_limits<double>::infinity();
    for (index_t i = 0; i < iterations; ++i) {
      replacement<Be> now;
      now.W = linalg::nf4_rounded(be, target);
      mat<Be> rest = clone(be, s.W);
      be.apply(linalg::axpby<T>{-1, 1}, rest, now.W);  // W − Q
      now.f = linalg::balanced_factors(be, linalg::truncated_svd(be, rest, s.rank), scaling);
      be.copy(transpose::no, s.W, target);
      be.gemm(-scaling, transpose::no, now.f.B, transpose::no, now.f.A, 1, target);
      be.gemm(-scaling, transpose::no, now.f.B, transpose::no, now.f.A, 1, rest);
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
