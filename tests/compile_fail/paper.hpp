// A backend that is declared and not defined: what the wrong programs here are compiled against. It costs
// a fraction of what the CPU backend does, and none of these programs is meant to be linked.
#pragma once
#include <preheat/methods.hpp>
#include <preheat/nn/least_squares.hpp>
#include <preheat/train/fit.hpp>

struct paper {
  using scalar = float;
  using T = float;
  using in = preheat::view<const float>;
  using out = preheat::view<float>;
  using index_t = preheat::index_t;
  using transpose = preheat::transpose;
  struct matrix {
    float* data();
    const float* data() const;
    index_t rows() const;
    index_t cols() const;
    index_t ld() const;
  };

  std::string describe() const;
  matrix zeros(index_t m, index_t n);
  void resize(matrix& M, index_t m, index_t n);
  void upload(std::span<const T> host, out x);
  std::vector<T> download(in a);
  void fill(T value, out x);
  void copy(transpose t, in a, out x);
  template <class F, class M, class... Ms>
  void apply(F f, M&& x, Ms&&... others);
  template <class F, class M, class... Ms>
  void apply_indexed(F f, M&& x, Ms&&... others);
  void scale_rows(in d, out x);
  void scale_cols(in d, out x);
  void add_to_cols(in b, out x);
  void add_row_sums(T s, in a, out x);
  void add_row_dots(T s, in a, in b, out x);
  T dot(in a, in b);
  T max_abs(in a);
  void gemm(T s, transpose ta, in a, transpose tb, in b, T t, out c);
  void gram(transpose t, in a, out c);
  bool cholesky(out g);
  void solve_upper(transpose t, in r, out x);
  preheat::qr_result<matrix> qr(in a);
  preheat::svd_result<matrix> svd(in a);
  preheat::eigh_result<matrix> eigh(in a);
};
static_assert(preheat::backend<paper>);
