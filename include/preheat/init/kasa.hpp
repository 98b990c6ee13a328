// KaSA ("KaSA: Knowledge-Aware Singular-Value Adaptation of Large Language Models", arXiv
// 2412.06071), as computed by [PEFT]. The r least singular components of W = U·S·Vᵀ (m×n) count as
// noise and are dropped from W; an adapter with a learned diagonal d between the factors is trained
// on what is left:
//
//   W ← W − U[:, −r:]·S[−r:]·V[:, −r:]ᵀ,   y = W·x + s·B·(d ⊙ A·x) + b.
//
// The layer is adapter::gated<> with d as its gate, d ~ N(0, 1) at the start [PEFT], as in SoRA.
// A (r×n) is LoRA's random A and B (m×r) is zero, so s·B·A is zero. But W is replaced, so the
// output changes by the dropped components, and a merge without training gives the new W and not
// the old one. r is the adapter's rank. The paper's penalties on d and on the factors are not
// part of this init: optim::kasa_penalties has them.
//
// Errors: rank < 1 or rank >= min(m, n), which would leave nothing of W [PEFT]; NaN in W. Cost: an
// exact SVD, O(m·n·min(m, n)), and one product of 2·m·n·r.
#pragma once
#include <algorithm>
#include <utility>

#include "../linalg/minor_svd.hpp"
#include "kaiming.hpp"

namespace preheat::init {

struct kasa {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::new_base;
  static constexpr bool zero_factors = true;  // so that any adapter can start from them

  template <backend Be>
  replacement<Be> operator()(Be& be, const target_layer<Be>& s) const {
    const index_t components = std::min(s.W.rows(), s.W.cols());
    require(1 <= s.rank && s.rank < components, "init::kasa: 1 <= rank < min(out, in)", s.rank,
            components);
    svd_result<mat<Be>> dropped = linalg::minor_svd(be, s.W, s.rank);
    be.scale_cols(dropped.S, dropped.U);
    mat<Be> W = clone(be, s.W);
    be.gemm(-1, transpose::no, dropped.U, transpose::yes, dropped.V, 1, W);
    return {kaiming{}(be, s), std::move(W)};
  }
};

}  // namespace preheat::init
