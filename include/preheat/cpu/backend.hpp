// The CPU backend: Eigen for loops, and for products and factorizations either the system's BLAS
// and LAPACK or Eigen alone. The choice is a type, so both can live in one program and in one test:
//
//   preheat::cpu<float> be;                          // the best the build found
//   preheat::cpu<float, preheat::eigen_kernels> e;   // Eigen alone
//   std::puts(be.describe().c_str());                // which one is in use
//
// Nothing is kept between calls; a backend object may be copied and shared by threads. Errors: a
// shape that does not fit throws invalid_argument with both numbers.
#pragma once
#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "../core/concepts.hpp"
#include "../core/shapes.hpp"
#include "column_operations.hpp"
#include "eigen_kernels.hpp"
#include "matrix.hpp"
#include "packet.hpp"
#if defined(PREHEAT_SYSTEM_BLAS)
#include "blas_kernels.hpp"
#endif

namespace preheat {

#if defined(PREHEAT_SYSTEM_BLAS)
using default_cpu_kernels = blas_kernels;
#else
using default_cpu_kernels = eigen_kernels;
inline bool set_blas_threads(int) {
  return false;
}
#endif

template <class T, class Kernels = default_cpu_kernels>
class cpu {
 public:
  using scalar = T;
  using matrix = cpu_matrix<T>;

  // The backend of twice the precision, where there is one.
  using wide = std::conditional_t<std::same_as<T, float>, cpu<double, Kernels>, void>;

  std::string describe() const {
    return std::string("cpu<") + (sizeof(T) == 4 ? "float" : "double") + ">, " +
           Kernels::describe();
  }

  matrix zeros(index_t m, index_t n) {
    matrix M(m, n);
    M.eigen().setZero();
    return M;
  }
  void resize(matrix& M, index_t m, index_t n) { M.resize(m, n); }

  void upload(std::span<const T> host, view<T> x) {
    require(index_t(host.size()) == x.size(), "upload: as many numbers as entries", host.size(),
            x.size());
    eigen_map(x) = eigen_map(view<const T>(host.data(), x.rows(), x.cols()));
  }
  std::vector<T> download(view<const T> a) {
    std::vector<T> host(std::size_t(a.size()));
    eigen_map(view<T>(host.data(), a.rows(), a.cols())) = eigen_map(a);
    return host;
  }

  void fill(T value, view<T> x) { eigen_map(x).setConstant(value); }
  void copy(op t, view<const T> a, view<T> x) {
    require_copy_shapes<T>(t, a, x);
    if (t == op::trans) {
      eigen_map(x) = eigen_map(a).transpose();
    } else {
      eigen_map(x) = eigen_map(a);
    }
  }

  template <class F, class M, class... Ms>
  void each(F f, M&& x, Ms&&... others) {
    const view first(x);
    if constexpr (packet_kernel<F> && packet<T>::available) {
      by_columns([&](index_t, index_t length,
                     auto*... columns) { for_each_packet<T>(f, length, columns...); },
                 first, view(others)...);
    } else {
      each_indexed([&](index_t, auto&... values) { f(values...); }, x, others...);
    }
  }
  template <class F, class M, class... Ms>
  void each_indexed(F f, M&& x, Ms&&... others) {
    by_columns(
        [&](index_t start, index_t length, auto*... columns) {
          for (index_t i = 0; i < length; ++i) {
            f(start + i, columns[i]...);
          }
        },
        view(x), view(others)...);
  }

  void scale_rows(view<const T> d, view<T> x) {
    require(d.rows() == x.rows(), "scale_rows: one factor a row", d.rows(), x.rows());
    eigen_map(x).array().colwise() *= eigen_map(d).col(0).array();
  }
  void scale_cols(view<const T> d, view<T> x) {
    require(d.rows() == x.cols(), "scale_cols: one factor a column", d.rows(), x.cols());
    eigen_map(x).array().rowwise() *= eigen_map(d).col(0).array().transpose();
  }
  void add_to_cols(view<const T> b, view<T> x) {
    require(b.rows() == x.rows(), "add_to_cols: one term a row", b.rows(), x.rows());
    eigen_map(x).colwise() += eigen_map(b).col(0);
  }
  void add_row_sums(T s, view<const T> a, view<T> x) {
    require(a.rows() == x.rows(), "add_row_sums: one sum a row", a.rows(), x.rows());
    const auto A = eigen_map(a);
    auto sums = eigen_map(x).col(0);
    for (index_t j = 0; j < a.cols(); ++j) {
      sums += s * A.col(j);
    }
  }
  void add_row_dots(T s, view<const T> a, view<const T> b, view<T> x) {
    require(a.rows() == x.rows(), "add_row_dots: one sum a row", a.rows(), x.rows());
    require_same_shape("add_row_dots", a, b);
    const auto A = eigen_map(a);
    const auto B = eigen_map(b);
    auto dots = eigen_map(x).col(0);
    for (index_t j = 0; j < a.cols(); ++j) {
      dots += s * A.col(j).cwiseProduct(B.col(j));
    }
  }

  T dot(view<const T> a, view<const T> b) {
    require_same_shape("dot", a, b);
    return a.empty() ? T(0) : eigen_map(a).cwiseProduct(eigen_map(b)).sum();
  }
  T max_abs(view<const T> a) {
    return a.empty() ? T(0) : eigen_map(a).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>();
  }

  void gemm(T alpha, op ta, view<const T> a, op tb, view<const T> b, T beta, view<T> c) {
    require_product_shapes<T>(ta, a, tb, b, c);
    if (!c.empty()) {
      Kernels::template gemm<T>(alpha, ta, a, tb, b, beta, c);
    }
  }
  void gram(op t, view<const T> a, view<T> c) {
    require_gram_shapes<T>(t, a, c);
    if (!c.empty()) {
      Kernels::template gram<T>(t, a, 0, c);
    }
  }
  // The same for float factors, with products and sums in double: what squaring costs in digits it
  // gives back. Cost: about twice that in float; panels of the factor are converted in cache.
  void gram(op t, view<const T> a, view<double> c) requires std::same_as<T, float> {
    const index_t n = require_gram_shapes<T>(t, a, c);
    const index_t length = cols_of(t, a);
    eigen_map(c).setZero();
    constexpr index_t panel_size = 1 << 15;  // numbers: a quarter of a megabyte
    const index_t step = std::max<index_t>(1, panel_size / std::max<index_t>(n, 1));
    cpu_matrix<double> panel;
    for (index_t i = 0; n > 0 && i < length; i += step) {
      const index_t count = std::min(step, length - i);
      const view<const T> part = t == op::none ? a.col_range(i, count) : a.row_range(i, count);
      panel.resize(part.rows(), part.cols());
      panel.eigen() = eigen_map(part).template cast<double>();
      Kernels::template gram<double>(t, panel, 1, c);
    }
  }
  bool cholesky(view<T> g) {
    require(g.rows() == g.cols(), "cholesky: the matrix is square", g.rows(), g.cols());
    return Kernels::template cholesky<T>(g);
  }
  void solve_upper(op t, view<const T> r, view<T> x) {
    require(r.rows() == r.cols(), "solve_upper: the triangle is square", r.rows(), r.cols());
    require(r.rows() == x.rows(), "solve_upper: rows agree", r.rows(), x.rows());
    if (!x.empty()) {
      Kernels::template solve_upper<T>(t, r, x);
    }
  }
  qr_result<matrix> qr(view<const T> a) {
    require(!a.empty(), "qr: the matrix is not empty", a.rows(), a.cols());
    return Kernels::template qr<T>(a);
  }
  svd_result<matrix> svd(view<const T> a) {
    require(!a.empty(), "svd: the matrix is not empty", a.rows(), a.cols());
    return Kernels::template svd<T>(a);
  }
  eigh_result<matrix> eigh(view<const T> a) {
    require(a.rows() == a.cols() && !a.empty(), "eigh: the matrix is square", a.rows(), a.cols());
    return Kernels::template eigh<T>(a);
  }
  // The k largest at least: a solver that finds all of them may return all.
  eigh_result<matrix> eigh_largest(view<const T> a, index_t k) {
    require(a.rows() == a.cols(), "eigh_largest: the matrix is square", a.rows(), a.cols());
    require(1 <= k && k <= a.rows(), "eigh_largest: 1 <= count <= rows", k, a.rows());
    return Kernels::template eigh_largest<T>(a, k);
  }

  // Mean over the columns of −log softmax(z)[label]; d becomes its gradient. Labels are a 1×N row
  // of whole numbers. For networks that classify; not part of the concept `backend`.
  T softmax_cross_entropy(view<const T> z, view<const T> labels, view<T> d) {
    require(labels.rows() == 1, "labels are one row", labels.rows(), 1);
    require(labels.cols() == z.cols(), "one label a column", labels.cols(), z.cols());
    require_same_shape("softmax_cross_entropy", z, d);
    const auto Z = eigen_map(z);
    auto D = eigen_map(d);
    const T weight = T(1) / T(z.cols());
    T loss = 0;
    for (index_t j = 0; j < z.cols(); ++j) {
      const T given = labels.data()[j * labels.ld()];
      require(0 <= given && given < T(z.rows()), "0 <= label < classes", given, z.rows());
      const index_t label = index_t(given);
      require(T(label) == given, "a label is a whole number", given, label);
      const T top = Z.col(j).maxCoeff();
      D.col(j) = (Z.col(j).array() - top).exp();
      const T sum = D.col(j).sum();
      loss += weight * (std::log(sum) + top - Z(label, j));
      D.col(j) *= weight / sum;
      D(label, j) -= weight;
    }
    return loss;
  }

  // Operations on columns, for encoders (nn/encoder_backend.hpp); not part of the concept `backend`.
  void softmax_cols(view<T> x) { column_operations::softmax(x); }
  void softmax_cols_gradient(view<const T> p, view<T> d) {
    column_operations::softmax_gradient(p, d);
  }
  void layer_norm(T epsilon, view<const T> gamma, view<const T> beta, view<T> x, view<T> r,
                  view<T> y) {
    column_operations::layer_norm(epsilon, gamma, beta, x, r, y);
  }
  void layer_norm_gradient(view<const T> gamma, view<const T> x, view<const T> r, view<T> d) {
    column_operations::layer_norm_gradient(gamma, x, r, d);
  }

 private:
  // f(number of the first entry, length, pointers) for every column; for all at once where no
  // operand has gaps between its columns.
  template <class F, class V, class... Vs>
  static void by_columns(F f, V x, Vs... others) {
    (require_same_shape("each", x, others), ...);
    const bool contiguous = x.ld() == x.rows() && ((others.ld() == others.rows()) && ...);
    const index_t columns = contiguous ? std::min<index_t>(x.size(), 1) : x.cols();
    const index_t length = contiguous ? x.size() : x.rows();
    for (index_t j = 0; j < columns; ++j) {
      f(j * length, length, x.data() + j * x.ld(), (others.data() + j * others.ld())...);
    }
  }
};

static_assert(backend<cpu<float, eigen_kernels>> && backend<cpu<double, eigen_kernels>>);
static_assert(backend<cpu<float>> && backend<cpu<double>>);

}  // namespace preheat
