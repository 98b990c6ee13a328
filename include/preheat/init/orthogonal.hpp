// Random orthonormal rows of A (uniform on the Stiefel manifold, A·Aᵀ = I), B = 0. The "orthogonal"
// of [PEFT], which sets both factors, is init::peft_orthogonal. Needs rank <= length of a row.
#pragma once
#include "one_sided.hpp"

namespace preheat::init {

struct orthogonal {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;

  double row_norm = 1;  // of every row, > 0

  double expected_row_norm(index_t, index_t) const { return row_norm; }

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    require(row_norm > 0, "row norm > 0", row_norm, 0.0);
    return one_sided(be, s, row_norm == 1 ? 0 : row_norm, [&](index_t r, index_t length) {
      return linalg::transposed(be, linalg::orthonormal(be, length, r, s.gen));
    });
  }
};

}  // namespace preheat::init
