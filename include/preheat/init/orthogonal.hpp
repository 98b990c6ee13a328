// Orthonormal random directions (uniform on the Stiefel manifold), B = 0: A·Aᵀ = I. PEFT's
// "orthogonal", which sets both factors, is init::peft_orthogonal. Needs rank <= length.
#pragma once
#include "one_sided.hpp"

namespace preheat::init {

struct orthogonal {
  using axis = axes::init;
  using hooks = hook_list<>;
  static constexpr start product = start::zero;
  static constexpr evidence_kind needs = evidence_kind::none;

  double row_norm = 1;  // of every direction, > 0

  double expected_row_norm(index_t, index_t) const { return row_norm; }

  template <backend Be>
  factors<Be> operator()(Be& be, const site<Be>& s) const {
    require(row_norm > 0, "row norm > 0", row_norm, 0.0);
    return one_sided(be, s, row_norm == 1 ? 0 : row_norm, [&](index_t r, index_t length) {
      return linalg::transposed<Be>(be, linalg::orthonormal(be, length, r, s.gen));
    });
  }
};

}  // namespace preheat::init
