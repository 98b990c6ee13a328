// Roots of small symmetric matrices, and the polar factor of a thin matrix: what optimizers that
// take steps in the spectral norm need. All by eigendecompositions of r×r Gram matrices.
#pragma once
#include "symmetric.hpp"

namespace preheat::linalg {

enum class root_kind { plain, inverse };

// x = √x or 1/√x, and 0 where x is at most `cutoff`
template <class T>
struct root_above {
  T cutoff;
  root_kind kind;
  constexpr void operator()(T& x) const {
    x = x > cutoff ? (kind == root_kind::plain ? std::sqrt(x) : 1 / std::sqrt(x)) : T(0);
  }
};

// C^½ or its pseudoinverse, from the eigendecomposition of C, positive semidefinite. Eigenvalues not
// above r·ε·(the largest) count as zero.
template <backend Be>
mat<Be> symmetric_root(Be& be, const eigh_result<mat<Be>>& c, root_kind kind) {
  using T = scalar_of<Be>;
  const T relative = T(c.values.rows()) * std::numeric_limits<T>::epsilon();
  mat<Be> roots = clone<Be>(be, c.values);
  be.apply(root_above<T>{relative * be.max_abs(c.values), kind}, roots);
  mat<Be> scaled = clone<Be>(be, c.vectors);
  be.scale_cols(roots, scaled);
  return product<Be>(be, transpose::no, scaled, transpose::yes, c.vectors);
}
template <backend Be>
mat<Be> symmetric_root(Be& be, const_view_of<Be> C, root_kind kind) {
  return symmetric_root(be, symmetric_eigen(be, C), kind);
}

// The polar factor U·Vᵀ of X = U·diag(σ)·Vᵀ, called the matrix sign by the authors of Muon: the matrix
// with orthonormal rows or columns, whichever are fewer, that is nearest to X. Directions with σ not
// above √(r·ε) of the largest are left out, r the smaller side. A zero X gives zero.
// Cost: 4·m·n·r operations, and O(r³).
template <backend Be>
mat<Be> polar_factor(Be& be, const_view_of<Be> X) {
  const bool wide = X.rows() <= X.cols();
  const mat<Be> inverse = symmetric_root<Be>(be, gram(be, wide ? transpose::no : transpose::yes, X),
                                             root_kind::inverse);
  return wide ? product<Be>(be, transpose::no, inverse, transpose::no, X)
              : product<Be>(be, transpose::no, X, transpose::no, inverse);
}

}  // namespace preheat::linalg
