// The factors of a product U·S·Vᵀ that is given by its singular triplets (U m×r, S r×1, V n×r). The
// singular values go into both factors evenly, or into one of them:
//
//   balanced_factors           A = √(S/s)·Vᵀ (r×n),  B = U·√(S/s) (m×r),  so that s·B·A = U·S·Vᵀ
//   factors_with_values_on A   A = S·Vᵀ,  B = U       on B   A = Vᵀ,  B = U·S
//
// Errors: s <= 0. Cost: O((m + n)·r).
#pragma once
#include <utility>

#include "elementwise.hpp"

namespace preheat::linalg {

template <backend Be>
factors<Be> balanced_factors(Be& be, svd_result<mat<Be>> d, scalar_of<Be> s = 1) {
  require(s > 0, "scaling > 0", s, scalar_of<Be>(0));
  be.apply(root<scalar_of<Be>>{s}, d.S);
  be.scale_cols(d.S, d.U);
  be.scale_cols(d.S, d.V);
  return {transposed<Be>(be, d.V), std::move(d.U)};
}

// `factor` is parameter_role::A or parameter_role::B.
template <backend Be>
factors<Be> factors_with_values_on(Be& be, parameter_role factor, svd_result<mat<Be>> d) {
  require(factor == parameter_role::A || factor == parameter_role::B,
          "the singular values go into factor A or into factor B");
  be.scale_cols(d.S, factor == parameter_role::A ? d.V : d.U);
  return {transposed<Be>(be, d.V), std::move(d.U)};
}

}  // namespace preheat::linalg
