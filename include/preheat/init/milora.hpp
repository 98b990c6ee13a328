// MiLoRA ("MiLoRA: Harnessing Minor Singular Components for Parameter-Efficient LLM Finetuning",
// arXiv 2406.09044): PiSSA at the other end of the spectrum. With W = U·S·Vᵀ (m×n) and the last r
// of its min(m, n) triplets,
//
//   A = √(S/s)·Vᵀ (r×n),  B = U·√(S/s) (m×r),  W ← W − s·B·A,
//
// so the output is unchanged, the principal part of W stays frozen and its minor part is trained.
// [preheat] The division by s, as in PiSSA, makes s·B·A the minor part for any s.
//
// Errors: rank < 1 or rank > min(m, n); s <= 0; NaN or infinity in W. A singular value of zero
// gives a rank whose A and B are both zero to rounding, and which hardly trains.
// Cost: an exact SVD, O(m·n·min(m, n)).
#pragma once
#include "../linalg/balanced_factors.hpp"
#include "../linalg/minor_svd.hpp"

namespace preheat::init {

struct milora {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::residual;

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    return linalg::balanced_factors(be, linalg::minor_svd(be, s.W, s.rank), s.scaling);
  }
};

}  // namespace preheat::init
