// PRoLoRA's factors and its chunks' gradients in plain loops, by the definition: what the adapter,
// which never forms A and B, is compared with.
#pragma once
#include <algorithm>
#include <array>
#include <preheat/adapter/prolora.hpp>

#include "support/table.hpp"

namespace conformance {

// A layer m×n under rank r, of which u ranks are plain; A is shared share_a ways, B share_b ways.
struct prolora_shape {
  index_t m, n;
  index_t r, u;
  index_t share_a, share_b;

  index_t shared() const { return r - u; }
  index_t chunk_a() const { return rounded_up(n, share_a); }  // columns of A0
  index_t chunk_b() const { return rounded_up(m, share_b); }  // rows of B0
  index_t trained() const { return shared() * (chunk_a() + chunk_b()) + u * (m + n); }

  // The rank of the chunk that rank k of replica i is.
  index_t turned(index_t k, index_t i, index_t share) const {
    const index_t stride = std::max<index_t>(shared() / share, 1);
    return (k + i * stride) % shared();
  }

  static index_t rounded_up(index_t size, index_t share) {
    return size / share + (size % share > 0 ? 1 : 0);
  }
};

// A[k, i·c + j] = A0[(k + i·s_A) mod r', j], then the rows of Au.
inline table whole_a(const prolora_shape& s, const table& A0, const table& Au) {
  table A(s.r, s.n);
  for (index_t j = 0; j < s.n; ++j) {
    for (index_t k = 0; k < s.shared(); ++k) {
      A(k, j) = A0(s.turned(k, j / s.chunk_a(), s.share_a), j % s.chunk_a());
    }
    for (index_t k = 0; k < s.u; ++k) {
      A(s.shared() + k, j) = Au(k, j);
    }
  }
  return A;
}
// B is the same with outputs for inputs.
inline prolora_shape exchanged(const prolora_shape& s) {
  return {s.n, s.m, s.r, s.u, s.share_b, s.share_a};
}
inline table whole_b(const prolora_shape& s, const table& B0, const table& Bu) {
  return transposed(whole_a(exchanged(s), transposed(B0), transposed(Bu)));
}

// ∇A0[k, j] = Σ_i ∇A[(k − i·s_A) mod r', i·c + j], columns that are cut left out.
inline table chunk_gradient_a(const prolora_shape& s, const table& G) {
  table g(s.shared(), s.chunk_a());
  const index_t stride = std::max<index_t>(s.shared() / s.share_a, 1);
  for (index_t k = 0; k < s.shared(); ++k) {
    for (index_t j = 0; j < s.chunk_a(); ++j) {
      for (index_t i = 0; i < s.share_a; ++i) {
        const index_t column = i * s.chunk_a() + j;
        const index_t row = (k + i * (s.shared() - stride)) % s.shared();  // −stride, mod r'
        g(k, j) += column < s.n ? G(row, column) : 0;
      }
    }
  }
  return g;
}
inline table chunk_gradient_b(const prolora_shape& s, const table& G) {
  return transposed(chunk_gradient_a(exchanged(s), transposed(G)));
}
// The rows (columns) of the plain ranks.
inline table plain_rows(const prolora_shape& s, const table& A) {
  table t(s.u, A.cols);
  for (index_t j = 0; j < A.cols; ++j) {
    for (index_t k = 0; k < s.u; ++k) {
      t(k, j) = A(s.shared() + k, j);
    }
  }
  return t;
}
inline table plain_columns(const prolora_shape& s, const table& B) {
  return columns(B, s.shared(), s.u);
}

inline preheat::adapter::prolora shared(index_t share_a, index_t share_b, index_t unshared) {
  return {.share_a = share_a, .share_b = share_b, .unshared = unshared};
}

// The four parts of a layer's parameters: A0, Au, B0, Bu.
template <preheat::backend Be, class Params>
std::array<table, 4> parts(Be& be, const Params& p) {
  return {read<Be>(be, p.A0), read<Be>(be, p.Au), read<Be>(be, p.B0), read<Be>(be, p.Bu)};
}

}  // namespace conformance
