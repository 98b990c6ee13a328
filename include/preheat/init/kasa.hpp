// KaSA ("KaSA: Knowledge-Aware Singular-Value Adaptation of Large Language Models", arXiv
// 2412.06071), as PEFT computes it. The r least singular components of W = U·S·Vᵀ (m×n) are taken
// for noise and dropped; what is trained sits on what is left, with a learned diagonal d between
// the factors:
//
//   W ← W − U[:, −r:]·S[−r:]·V[:, −r:]ᵀ,   y = W·x + s·B·(d ⊙ A·x) + b.
//
// The layer is adapter::gated<> with d as its gate, d ~ N(0, 1) at the start as SoRA's (the
// fixtures do not say how PEFT draws d). A (r×n) is LoRA's draw and B (m×r) is zero, so s·B·A is
// zero, but W is replaced: the output moves by the dropped components, and merging gives W_base
// back, not W. r is the adapter's rank. The paper's penalties on d and on the factors, β·Σd² and
// γ·(‖AAᵀ − I‖ + ‖BᵀB − I‖), are no part of this; optim::regularized<> has the second, as a mean.
//
// Errors: rank < 1 or rank >= min(m, n), where nothing would be left (as PEFT); NaN in W.
// Cost: an exact SVD, O(m·n·min(m, n)), and one product of 2·m·n·r.
#pragma once
#include <algorithm>
#include <utility>

#include "../linalg/minor_svd.hpp"
#include "kaiming.hpp"

namespace preheat::init {

struct kasa {
  using axis = axes::init;
  using hooks = hook_list<>;
  static constexpr start product = start::replaced;
  static constexpr evidence_kind needs = evidence_kind::weight;
  static constexpr bool zero_factors = true;  // so that any adapter can start from them

  template <backend Be>
  replacement<Be> operator()(Be& be, const site<Be>& s) const {
    const index_t components = std::min(s.W.rows(), s.W.cols());
    require(1 <= s.rank && s.rank < components, "init::kasa: 1 <= rank < min(out, in)", s.rank,
            components);
    svd_result<mat<Be>> dropped = linalg::minor_svd(be, s.W, s.rank);
    be.scale_cols(dropped.S, dropped.U);
    mat<Be> W = clone<Be>(be, s.W);
    be.gemm(-1, op::none, dropped.U, op::trans, dropped.V, 1, W);
    return {kaiming{}(be, s), std::move(W)};
  }
};

}  // namespace preheat::init
