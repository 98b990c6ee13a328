// MiLoRA ("MiLoRA: Harnessing Minor Singular Components for Parameter-Efficient LLM Finetuning",
// arXiv 2406.09044): PiSSA at the other end of the spectrum. With W = U·S·Vᵀ (m×n) and the last r
// of its min(m, n) triplets,
//
//   A = √(S/s)·Vᵀ (r×n),  B = U·√(S/s) (m×r),  W ← W − s·B·A,
//
// so the output is unchanged, the principal part of W stays frozen and its minor part is trained.
// The division by s is ours, as PiSSA's, so that s·B·A is the minor part whatever s is.
//
// Errors: rank < 1 or rank > min(m, n); s <= 0; NaN or infinity in W. A singular value of zero
// gives a rank whose A and B are both zero to rounding, and which hardly trains.
// Cost: an exact SVD, O(m·n·min(m, n)).
#pragma once
#include "../linalg/minor_svd.hpp"
#include "pissa.hpp"

namespace preheat::init {

struct milora {
  using axis = axes::init;
  using hooks = hook_list<>;
  static constexpr start product = start::absorbed;
  static constexpr evidence_kind needs = evidence_kind::weight;

  template <backend Be>
  factors<Be> operator()(Be& be, const site<Be>& s) const {
    return detail::split_evenly(be, linalg::minor_svd(be, s.W, s.rank), s.scaling);
  }
};

}  // namespace preheat::init
