// What is done with small symmetric matrices, the Gram matrices C = BᵀB and AAᵀ of a pair: their
// eigendecomposition C = V·diag(λ)·Vᵀ, the damped pseudoinverse, and Sylvester's equation.
// Everything here is r×r: O(r³), a few small allocations.
#pragma once
#include <limits>
#include <vector>

#include "../core/communicator.hpp"
#include "elementwise.hpp"
#include "host_eigen.hpp"

namespace preheat::linalg {

// x = 1/(x + delta), or 0 where that sum is at most `cutoff`
template <class T>
struct damped_inverse {
  T delta, cutoff;
  constexpr void operator()(T& x) const {
    const T sum = x + delta;
    x = sum > cutoff ? 1 / sum : T(0);
  }
};
// x = x / over, or 0 where over is at most `cutoff`
template <class T>
struct guarded_quotient {
  T cutoff;
  constexpr void operator()(T& x, const T& over) const { x = over > cutoff ? x / over : T(0); }
};

// The eigendecomposition of a symmetric matrix. One with a NaN or infinite entry, which an
// eigensolver refuses, gives NaN: the next loss then ends the run with a status.
template <backend Be>
eigh_result<mat<Be>> symmetric_eigen(Be& be, const_view_of<Be> C) {
  using T = scalar_of<Be>;
  if (std::isfinite(double(be.max_abs(C)))) {
    return be.eigh(C);
  }
  eigh_result<mat<Be>> e{be.zeros(C.rows(), 1), be.zeros(C.rows(), C.rows())};
  be.fill(std::numeric_limits<T>::quiet_NaN(), e.values);
  be.fill(std::numeric_limits<T>::quiet_NaN(), e.vectors);
  return e;
}

namespace detail {

// The k largest by the backend's own solver.
template <backend Be>
[[gnu::cold]] eigh_result<mat<Be>> eigenpairs_of_backend(Be& be, const_view_of<Be> C, index_t k) {
  using T = scalar_of<Be>;
  const auto solve = [&] {
    if constexpr (partial_eigen_backend<Be>) {
      return be.eigh_largest(C, k);
    } else {
      return be.eigh(C);
    }
  };
  const eigh_result<mat<Be>> e = solve();
  const index_t found = e.values.rows();
  const std::vector<T> increasing = be.download(e.values);
  eigh_result<mat<Be>> largest{be.zeros(k, 1), be.zeros(C.rows(), k)};
  be.upload(std::vector<T>(increasing.rbegin(), increasing.rbegin() + k), largest.values);
  for (index_t j = 0; j < k; ++j) {
    be.copy(transpose::no, view(e.vectors).col_range(found - 1 - j, 1),
            view(largest.vectors).col_range(j, 1));
  }
  return largest;
}

// Numbers of another precision, in the backend's own.
template <backend Be, class Number>
[[gnu::cold]] mat<Be> narrowed(Be& be, const std::vector<Number>& numbers, index_t rows,
                               index_t cols) {
  mat<Be> M = be.zeros(rows, cols);
  be.upload(std::vector<scalar_of<Be>>(numbers.begin(), numbers.end()), M);
  return M;
}

// Whether the host finds the k largest eigenpairs of n×n numbers sooner than a device does. Alone: 16 of 128 took 1.1 ms
// on the host of an H100 and 1.6 by cuSOLVER on an H200, 16 of 160 took 1.9 and 1.3.
constexpr bool host_solves(index_t n, index_t k, index_t most = 128) {
  return n <= 32 || (n <= most && 4 * k <= n);
}

}  // namespace detail

// The k largest eigenvalues of a symmetric matrix, in decreasing order, and their vectors n×k. Small
// problems of a device are solved by the host.
template <backend Be>
eigh_result<mat<Be>> largest_eigenpairs(Be& be, const_view_of<Be> C, index_t k) {
  using T = scalar_of<Be>;
  if constexpr (memory_of<Be>() == memory_kind::device) {
    if (detail::host_solves(C.rows(), k)) {
      const std::vector<T> entries = be.download(C);
      const auto e =
          detail::largest_eigenpairs_on_host({entries.begin(), entries.end()}, C.rows(), k);
      if (e) {
        return {detail::narrowed(be, e->values, k, 1),
                detail::narrowed(be, e->vectors, C.rows(), k)};
      }
    }
  }
  return detail::eigenpairs_of_backend(be, C, k);
}

// (C + δI)⁺, C positive semidefinite. Eigenvalues of C + δI not above r·ε·(the largest) count as
// zero, so that δ = 0 gives the pseudoinverse of C.
template <backend Be>
mat<Be> damped_pinv(Be& be, const eigh_result<mat<Be>>& c, double delta) {
  using T = scalar_of<Be>;
  const double relative = double(c.values.rows()) * double(std::numeric_limits<T>::epsilon());
  const double largest = double(be.max_abs(c.values)) + delta;
  mat<Be> inverse = clone<Be>(be, c.values);
  be.apply(damped_inverse<T>{T(delta), T(relative * largest)}, inverse);
  mat<Be> scaled = clone<Be>(be, c.vectors);
  be.scale_cols(inverse, scaled);
  return product<Be>(be, transpose::no, scaled, transpose::yes, c.vectors);
}

// The X with P·X + X·Q = C, P = U·diag(λ)·Uᵀ and Q = V·diag(μ)·Vᵀ positive semidefinite:
//
//   X = U·[(Uᵀ·C·V)_ij/(λ_i + μ_j)]·Vᵀ
//
// Entries whose λ_i + μ_j is zero to working precision become zero (the solution of least norm).
template <backend Be>
mat<Be> solve_sylvester(Be& be, const eigh_result<mat<Be>>& p, const eigh_result<mat<Be>>& q,
                        const_view_of<Be> C) {
  using T = scalar_of<Be>;
  const index_t r = C.rows();
  mat<Be> ones = be.zeros(r, 1);
  be.fill(1, ones);
  mat<Be> sums = product<Be>(be, transpose::no, p.values, transpose::yes, ones);
  be.gemm(1, transpose::no, ones, transpose::yes, q.values, 1, sums);
  const double relative = double(r) * double(std::numeric_limits<T>::epsilon());
  const T cutoff = T(relative * double(be.max_abs(sums)));

  mat<Be> X =
      product<Be>(be, transpose::no, product<Be>(be, transpose::yes, p.vectors, transpose::no, C),
                  transpose::no, q.vectors);
  be.apply(guarded_quotient<T>{cutoff}, X, sums);
  return product<Be>(be, transpose::no, product<Be>(be, transpose::no, p.vectors, transpose::no, X),
                     transpose::yes, q.vectors);
}

}  // namespace preheat::linalg
