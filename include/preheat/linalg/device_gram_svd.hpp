// The wide Gram form (gram_svd.hpp) on a device, whose only wait is for K: Gram matrices, Cholesky factor and K
// are computed without the host; the host finds K's largest eigenpairs, R numbers a side (host_eigen.hpp), and
// hands them back with the launches of what follows:
//
//   device   G_B = BᵀB,  G_A + shift·I = RᵀR,  K = R·G_B·Rᵀ,  ‖G_A‖_F²,  ‖G_B‖_F²
//   host     K = W·diag(σ²)·Wᵀ
//   device   U = B·(RᵀW/σ),  V = Aᵀ·(G_B·RᵀW/σ²)
//
// All in double, the last products too: U and V are orthonormal as far as squaring allows, which 53 bits
// nearly always do, and only otherwise orthonormalized. A matrix that is not finite, or has no Cholesky
// factor, shows in K.
// Memory: a factor in double, one at a time, and 3·R² numbers.
#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "gram_svd.hpp"
#include "host_eigen.hpp"

namespace preheat::linalg {

// x = y, of another type
template <class X>
struct converted {
  template <class Y>
  constexpr void operator()(X& x, const Y& y) const {
    x = X(y);
  }
};
// x = g, a square matrix, with `relative` times the largest number of its diagonal added to its diagonal.
template <class T>
struct shifted_copy {
  T relative;
  const T* g;
  index_t rows;
  index_t ld;
  constexpr void operator()(index_t k, T& x) const {
    const index_t i = k % rows;
    const index_t j = k / rows;
    x = g[i + j * ld];
    if (i == j) {
      T largest = 0;
      for (index_t l = 0; l < rows; ++l) {
        largest = g[l + l * ld] > largest ? g[l + l * ld] : largest;
      }
      x += relative * largest;
    }
  }
};

namespace detail {

template <class Be>
concept wide_on_device = mixed_precision_backend<Be> && unwaited_backend<Be> &&
    unwaited_backend<typename Be::higher_precision>;

template <class Be>
using wider = typename Be::higher_precision;

// An m×n matrix whose contents are undefined.
template <backend Be>
mat<Be> sized(Be& be, index_t m, index_t n) {
  mat<Be> M;
  be.resize(M, m, n);
  return M;
}
template <class Be>
mat<wider<Be>> widened(Be& be, wider<Be>& wide, const_view_of<Be> a) {
  mat<wider<Be>> M = sized(wide, a.rows(), a.cols());
  be.apply(converted<scalar_of<wider<Be>>>{}, M, a);
  return M;
}
template <class Be>
mat<Be> rounded(Be& be, const_view_of<wider<Be>> a) {
  mat<Be> M = sized(be, a.rows(), a.cols());
  be.apply(converted<scalar_of<Be>>{}, M, a);
  return M;
}

// What the device computes before the host is asked: G_B, R, and K beside the sums of squares of the rows of G_A
// and G_B, R×(R + 2).
template <class Be>
struct gram_question {
  mat<wider<Be>> G_B, R, K;
};
template <wide_on_device Be>
gram_question<Be> ask_gram_core(Be& be, const_view_of<Be> B, const_view_of<Be> A) {
  using T = scalar_of<wider<Be>>;
  wider<Be> wide = in_higher_precision(be);
  const index_t R = B.cols();
  gram_question<Be> q{sized(wide, R, R), sized(wide, R, R), sized(wide, R, R + 2)};
  mat<wider<Be>> G_A = sized(wide, R, R);
  be.gram(transpose::yes, B, view<T>(q.G_B));
  be.gram(transpose::no, A, view<T>(G_A));
  // As much as rounding may have taken from a singular G_A, so that Cholesky goes through.
  const T shift = T(R) * std::numeric_limits<T>::epsilon();
  wide.apply_indexed(shifted_copy<T>{shift, std::as_const(G_A).data(), R, G_A.ld()}, q.R);
  wide.cholesky_or_nan(q.R);
  mat<wider<Be>> product = sized(wide, R, R);
  wide.gemm(1, transpose::no, q.R, transpose::no, q.G_B, 0, product);
  wide.gemm(1, transpose::no, product, transpose::yes, q.R, 0, view<T>(q.K).col_range(0, R));
  wide.fill(0, view<T>(q.K).col_range(R, 2));
  wide.add_row_dots(1, G_A, G_A, view<T>(q.K).col_range(R, 1));
  wide.add_row_dots(1, q.G_B, q.G_B, view<T>(q.K).col_range(R + 1, 1));
  return q;
}

// K's r largest eigenpairs: σ, 1/σ (0 for what is rounding), and W·diag(1/σ).
struct gram_answer {
  std::vector<double> sigma, inverse, scaled_vectors;
  gram_weight weight;
};
// `asked` is what the question holds. Nothing if it is not finite or out of range, or if squaring costs T more than
// its last digit, or if the host has no such eigenpairs: then those of the device, if it has been asked, `known`.
template <class T>
std::optional<gram_answer> answer_gram_core(const std::vector<double>& asked, index_t R, index_t r,
                                            std::optional<host_eigenpairs> known) {
  constexpr double epsilon = std::numeric_limits<T>::epsilon();
  const auto norm_of = [&](index_t column) {
    const auto first = asked.begin() + column * R;
    return std::sqrt(std::accumulate(first, first + R, 0.0));
  };
  const double norm_A = norm_of(R);
  const double norm_B = norm_of(R + 1);
  if (!products_in_range<double>(norm_A) || !products_in_range<double>(norm_B) || !known) {
    return std::nullopt;
  }
  gram_answer answer{std::move(known->values), {}, std::move(known->vectors), {}};
  const auto weight = weigh_squares(answer.sigma, answer.inverse, norm_A * norm_B,
                                    wide_magnification<T>, double(R) * epsilon);
  if (!weight) {
    return std::nullopt;
  }
  answer.weight = *weight;
  for (index_t j = 0; j < r; ++j) {
    for (index_t i = 0; i < R; ++i) {
      answer.scaled_vectors[std::size_t(i + j * R)] *= answer.inverse[std::size_t(j)];
    }
  }
  return answer;
}

// op(factor)·C, its first columns made orthonormal where squaring may have cost digits that T has. False if
// that fails.
template <wide_on_device Be>
bool gram_side(Be& be, wider<Be>& wide, transpose t, const_view_of<Be> factor,
               const mat<wider<Be>>& C, const gram_weight& weight, mat<Be>& result) {
  constexpr double epsilon = std::numeric_limits<scalar_of<Be>>::epsilon();
  // The shift of G_A is R·ε of its norm.
  const double defect = double(C.rows()) * weight.magnified *
                        double(std::numeric_limits<scalar_of<wider<Be>>>::epsilon());
  const mat<wider<Be>> factor_in_double = widened<Be>(be, wide, factor);
  mat<wider<Be>> X = sized(wide, rows_of(t, factor), C.cols());
  wide.gemm(1, t, factor_in_double, transpose::no, C, 0, X);
  if (defect > epsilon) {
    const view<scalar_of<wider<Be>>> live = view(X).col_range(0, weight.significant);
    mat<wider<Be>> restored = clone<wider<Be>>(wide, live);
    if (!restore_orthonormality(wide, restored)) {
      return false;
    }
    wide.copy(transpose::no, restored, live);
  }
  result = rounded<Be>(be, X);
  return true;
}

// U, S and V from the answer, without waiting.
template <wide_on_device Be>
std::optional<live_svd<Be>> take_gram_answer(Be& be, const_view_of<Be> B, const_view_of<Be> A,
                                             const gram_question<Be>& q,
                                             const gram_answer& answer) {
  wider<Be> wide = in_higher_precision(be);
  const index_t R = B.cols();
  const auto r = index_t(answer.sigma.size());
  mat<wider<Be>> W = sized(wide, R, r);
  mat<wider<Be>> inverse = sized(wide, r, 1);
  wide.upload(answer.scaled_vectors, W);
  wide.upload(answer.inverse, inverse);
  mat<wider<Be>> left = sized(wide, R, r);
  mat<wider<Be>> right = sized(wide, R, r);
  wide.gemm(1, transpose::yes, q.R, transpose::no, W, 0, left);
  wide.gemm(1, transpose::no, q.G_B, transpose::no, left, 0, right);
  wide.scale_cols(inverse, right);
  live_svd<Be> result{{{}, narrowed(be, answer.sigma, r, 1), {}}, answer.weight.significant};
  if (!gram_side<Be>(be, wide, transpose::no, B, left, answer.weight, result.d.U) ||
      !gram_side<Be>(be, wide, transpose::yes, A, right, answer.weight, result.d.V)) {
    return std::nullopt;
  }
  return result;
}

// U, S and V from the host's eigenpairs; where it has none, from those of the device.
template <wide_on_device Be>
std::optional<live_svd<Be>> answered_gram_svd(Be& be, const_view_of<Be> B, const_view_of<Be> A,
                                              index_t r, const gram_question<Be>& q,
                                              const std::vector<double>& asked,
                                              std::optional<host_eigenpairs> pairs) {
  const auto finite = [](double x) { return std::isfinite(x); };
  if (!pairs && std::all_of(asked.begin(), asked.end(), finite)) {
    wider<Be> wide = in_higher_precision(be);
    const auto e = eigenpairs_of_backend<wider<Be>>(
        wide, const_view_of<wider<Be>>(q.K).col_range(0, B.cols()), r);
    pairs = {wide.download(e.values), wide.download(e.vectors)};
  }
  const auto answer = answer_gram_core<scalar_of<Be>>(asked, B.cols(), r, std::move(pairs));
  return answer ? take_gram_answer<Be>(be, B, A, q, *answer) : std::nullopt;
}

// The eigenpairs of K, which is the first columns of `asked`.
inline std::optional<host_eigenpairs> eigenpairs_of_core(const std::vector<double>& asked,
                                                         index_t R, index_t r) {
  return largest_eigenpairs_on_host({asked.begin(), asked.begin() + R * R}, R, r);
}

template <wide_on_device Be>
std::optional<live_svd<Be>> unwaited_gram_svd(Be& be, const_view_of<Be> B, const_view_of<Be> A,
                                              index_t r) {
  const gram_question<Be> q = ask_gram_core<Be>(be, B, A);
  const std::vector<double> asked = in_higher_precision(be).download(q.K);
  return answered_gram_svd<Be>(
      be, B, A, r, q, asked,
      host_solves(B.cols(), r) ? eigenpairs_of_core(asked, B.cols(), r) : std::nullopt);
}

}  // namespace detail
}  // namespace preheat::linalg
