// Householder reflectors, and QR by them, in blocks: without LAPACK, as accurate, and nearly all
// operations are products.
//
//   H = I − τ·v·vᵀ, v₀ = 1, τ = 2/‖v‖²         one reflector
//   H₀·H₁ ⋯ H_k = I − V·F·Vᵀ, F upper triangular   a block of them (compact WY form)
//
// Source: Golub and Van Loan, "Matrix Computations", 4th edition, sections 5.1.2, 5.1.7 and 5.2.3;
// Schreiber and Van Loan, "A storage-efficient WY representation for products of Householder
// transformations", SIAM J. Sci. Stat. Comput. 10, 1989.
#pragma once
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "eigen_products.hpp"
#include "matrix.hpp"

namespace preheat::householder {

inline constexpr index_t block_size = 32;

// x becomes (α, v₁, v₂, …) with H·x = (α, 0, 0, …), and τ is returned. τ is computed from the v that
// rounding left, so H is orthogonal to rounding whatever the size of x.
template <class T>
T make_reflector(index_t n, T* x) {
  const T below = n > 1 ? vector_loops::norm(n - 1, x + 1) : T(0);
  if (below == 0) {
    return 0;
  }
  const T alpha = std::copysign(std::hypot(x[0], below), -x[0]);
  const T pivot = x[0] - alpha;
  for (index_t i = 1; i < n; ++i) {
    x[i] /= pivot;
  }
  x[0] = alpha;
  return 2 / (1 + vector_loops::dot(n - 1, x + 1, x + 1));
}

// x = H·x, for the reflector that make_reflector left in v.
template <class T>
void apply_reflector(index_t n, const T* v, T tau, T* x) {
  const T along = tau * (x[0] + vector_loops::dot(n - 1, v + 1, x + 1));
  x[0] -= along;
  vector_loops::add_multiple(n - 1, -along, v + 1, x + 1);
}

// The reflectors below the diagonal of `panel` (m×k), as one: I − V·F·Vᵀ.
template <class T>
class block_reflector {
 public:
  block_reflector(view<const T> panel, const T* tau) : V_(panel.rows(), panel.cols()) {
    const index_t k = panel.cols();
    for (index_t j = 0; j < k; ++j) {
      T* const v = V_.data() + j * V_.ld();
      std::fill_n(v, j, T(0));
      v[j] = 1;
      std::copy_n(panel.data() + j + 1 + j * panel.ld(), panel.rows() - j - 1, v + j + 1);
    }
    F_ = cpu_matrix<T>(k, k);
    cpu_matrix<T> G(k, k);
    eigen_products::gemm<T>(1, transpose::yes, V_, transpose::no, V_, 0, G);
    for (index_t j = 0; j < k; ++j) {
      T* const f = F_.data() + j * F_.ld();
      std::fill_n(f, k, T(0));
      for (index_t l = 0; l < j; ++l) {
        vector_loops::add_multiple(l + 1, -tau[j] * G.data()[l + j * G.ld()],
                                   F_.data() + l * F_.ld(), f);
      }
      f[j] = tau[j];
    }
  }

  // c = (I − V·op(F)·Vᵀ)·c
  void apply(transpose t, view<T> c) const {
    cpu_matrix<T> along(V_.cols(), c.cols());
    cpu_matrix<T> turned(V_.cols(), c.cols());
    eigen_products::gemm<T>(1, transpose::yes, V_, transpose::no, c, 0, along);
    eigen_products::gemm<T>(1, t, F_, transpose::no, along, 0, turned);
    eigen_products::gemm<T>(-1, transpose::no, V_, transpose::no, turned, 1, c);
  }

 private:
  cpu_matrix<T> V_, F_;
};

// The first columns of Q = H₀·H₁ ⋯, as many as q (m×n) has. The reflectors are below the diagonal of
// the first columns of h, one for each τ. Cost: 4·m·n·k operations for k reflectors.
template <class T>
void form_q(view<const T> h, const std::vector<T>& tau, view<T> q) {
  const index_t reflectors = index_t(tau.size());
  for (index_t j = 0; j < q.cols(); ++j) {
    std::fill_n(q.data() + j * q.ld(), q.rows(), T(0));
    q.data()[j + j * q.ld()] = 1;
  }
  const index_t blocks = (reflectors + block_size - 1) / block_size;
  for (index_t first = (blocks - 1) * block_size; first >= 0; first -= block_size) {
    const index_t count = std::min(block_size, reflectors - first);
    const index_t rows = q.rows() - first;
    const block_reflector<T> block(h.block(first, first, rows, count), tau.data() + first);
    block.apply(transpose::no, q.block(first, first, rows, q.cols() - first));
  }
}

// A = Q·R, m×n: Q m×k with orthonormal columns, R k×n upper triangular, k = min(m, n). R has any signs
// on its diagonal. Backward stable column by column; orthonormal also where columns depend on each
// other or are zero. Cost: 4·m·n·k operations.
template <class T>
qr_result<cpu_matrix<T>> qr(view<const T> a) {
  const index_t m = a.rows();
  const index_t n = a.cols();
  const index_t k = std::min(m, n);
  cpu_matrix<T> h(m, n);
  for (index_t j = 0; j < n; ++j) {
    std::copy_n(a.data() + j * a.ld(), m, h.data() + j * h.ld());
  }
  std::vector<T> tau(static_cast<std::size_t>(k));
  for (index_t first = 0; first < k; first += block_size) {
    const index_t next = std::min(first + block_size, k);
    for (index_t j = first; j < next; ++j) {
      T* const v = h.data() + j + j * h.ld();
      T& t = tau[j];
      t = make_reflector(m - j, v);
      for (index_t l = j + 1; l < next; ++l) {
        apply_reflector(m - j, v, t, v + (l - j) * h.ld());
      }
    }
    if (next < n) {
      const view<T> rest = view<T>(h).block(first, first, m - first, n - first);
      const block_reflector<T> block(rest.col_range(0, next - first), tau.data() + first);
      block.apply(transpose::yes, rest.col_range(next - first, n - next));
    }
  }
  qr_result<cpu_matrix<T>> f{cpu_matrix<T>(m, k), cpu_matrix<T>(k, n)};
  for (index_t j = 0; j < n; ++j) {
    T* const r = f.R.data() + j * f.R.ld();
    const index_t above = std::min(j + 1, k);
    std::copy_n(h.data() + j * h.ld(), above, r);
    std::fill_n(r + above, k - above, T(0));
  }
  form_q<T>(h, tau, f.Q);
  return f;
}

}  // namespace preheat::householder
