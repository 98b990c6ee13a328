// Products that LyCORIS trains instead of B·A, exactly as factors of plain LoRA:
//
//   Hadamard (LoHa)     (P₁·Q₁)∘(P₂·Q₂) = B·A,  rank r₁·r₂: column i·r₂+j of B is p₁ᵢ∘p₂ⱼ, that row of A q₁ᵢ∘q₂ⱼ
//   Kronecker (LoKr)    (P₁·Q₁)⊗(P₂·Q₂) = (P₁⊗P₂)·(Q₁⊗Q₂),  rank r₁·r₂
//   Tucker              up·mid·down of a convolution, mid (r, r, k): A = mid·down (r, in·k), B = up
//
// (Yeh et al., "Navigating Text-To-Image Customization", arXiv 2309.14859). Matrices are column-major.
// Errors: shapes that do not go together. Cost: O(entries of the factors).
#pragma once
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"

namespace preheat {

// A matrix on the host, column-major.
template <class T>
struct host_matrix {
  index_t rows = 0;
  index_t cols = 0;
  std::vector<T> values{};
  host_matrix() = default;
  host_matrix(index_t m, index_t n) : rows(m), cols(n), values(std::size_t(m * n)) {}
  T& operator()(index_t i, index_t j) { return values[std::size_t(i + j * rows)]; }
  const T& operator()(index_t i, index_t j) const { return values[std::size_t(i + j * rows)]; }
};

template <class T>
struct host_factors {
  host_matrix<T> B;  // out×r
  host_matrix<T> A;  // r×in
};

template <class T>
host_factors<T> hadamard_factors(const host_factors<T>& x, const host_factors<T>& y) {
  require(x.B.rows == y.B.rows, "Hadamard: rows of both products", x.B.rows, y.B.rows);
  require(x.A.cols == y.A.cols, "Hadamard: columns of both products", x.A.cols, y.A.cols);
  require(x.B.cols == x.A.rows && y.B.cols == y.A.rows, "Hadamard: columns of B = rows of A");
  const index_t r2 = y.B.cols;
  host_factors<T> f{{x.B.rows, x.B.cols * r2}, {x.B.cols * r2, x.A.cols}};
  for (index_t i = 0; i < x.B.cols; ++i) {
    for (index_t j = 0; j < r2; ++j) {
      for (index_t k = 0; k < x.B.rows; ++k) {
        f.B(k, i * r2 + j) = x.B(k, i) * y.B(k, j);
      }
      for (index_t k = 0; k < x.A.cols; ++k) {
        f.A(i * r2 + j, k) = x.A(i, k) * y.A(j, k);
      }
    }
  }
  return f;
}

template <class T>
host_matrix<T> kronecker(const host_matrix<T>& x, const host_matrix<T>& y) {
  host_matrix<T> M(x.rows * y.rows, x.cols * y.cols);
  for (index_t j = 0; j < M.cols; ++j) {
    for (index_t i = 0; i < M.rows; ++i) {
      M(i, j) = x(i / y.rows, j / y.cols) * y(i % y.rows, j % y.cols);
    }
  }
  return M;
}

template <class T>
host_factors<T> kronecker_factors(const host_factors<T>& x, const host_factors<T>& y) {
  require(x.B.cols == x.A.rows && y.B.cols == y.A.rows, "Kronecker: columns of B = rows of A");
  return {kronecker(x.B, y.B), kronecker(x.A, y.A)};
}

// M = M·I or I·M, whichever has the smaller rank.
template <class T>
host_factors<T> as_factors(host_matrix<T> M) {
  const index_t r = M.rows < M.cols ? M.rows : M.cols;
  host_matrix<T> I(r, r);
  for (index_t i = 0; i < r; ++i) {
    I(i, i) = 1;
  }
  return M.rows < M.cols ? host_factors<T>{std::move(I), std::move(M)}
                         : host_factors<T>{std::move(M), std::move(I)};
}

// A (r × in·k) of mid (r × r₂·k: row p, then q and the kernel, the kernel fastest) and down (r₂ × in);
// its columns are those of a convolution: the inputs, then the kernel.
template <class T>
host_matrix<T> tucker_inputs(const host_matrix<T>& mid, const host_matrix<T>& down,
                             index_t kernel) {
  require(kernel > 0 && mid.cols == down.rows * kernel, "Tucker: columns of mid = rank·kernel",
          mid.cols, down.rows * kernel);
  host_matrix<T> A(mid.rows, down.cols * kernel);
  for (index_t p = 0; p < mid.rows; ++p) {
    for (index_t i = 0; i < down.cols; ++i) {
      for (index_t k = 0; k < kernel; ++k) {
        T sum = 0;
        for (index_t q = 0; q < down.rows; ++q) {
          sum += mid(p, q * kernel + k) * down(q, i);
        }
        A(p, i * kernel + k) = sum;
      }
    }
  }
  return A;
}

}  // namespace preheat
