// The CPU backend: Eigen for loops, and for products and factorizations either the system's BLAS
// and LAPACK or Eigen alone. The choice is a type, so both can live in one program and in one test:
//
//   preheat::cpu<float> be;                          // the best the build found
//   preheat::cpu<float, preheat::eigen_kernels> e;   // Eigen alone
//   std::puts(be.describe().c_str());                // which one is in use
//
// A backend works on one thread unless it is told otherwise: to train one model on two cores,
//
//   preheat::cpu<float> be(2);
//
// whose products and elementwise operations are done in blocks of the result, shared out among the
// threads; reductions and factorizations remain on the caller's. There are never two pools at once: a
// backend of several threads sets OpenBLAS and Eigen to one thread, for the whole process. A BLAS
// that cannot be told needs its own way (OMP_NUM_THREADS=1). Independent layers or runs go in
// parallel instead, each on a backend of one thread.
//
// Numbers do not depend on the threads: elementwise operations and sums over columns give the same
// bits with any number of them. An entry of a product is always the sum of the same products by the
// BLAS, of which only the other entries differ; OpenBLAS was measured to give it the same bits in a
// block as in the whole matrix, for the blocks that are used here, but no BLAS promises it.
//
// Nothing is kept between calls but the threads; a backend object may be copied and shared. Copies
// share their threads, and one that finds them at work does without. Errors: a shape that does not
// fit throws invalid_argument with both numbers.
#pragma once
#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "../core/concepts.hpp"
#include "../core/shapes.hpp"
#include "blocks.hpp"
#include "column_operations.hpp"
#include "eigen_kernels.hpp"
#include "matrix.hpp"
#include "packet.hpp"
#include "thread_team.hpp"
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

  // One thread, the caller's.
  cpu() = default;
  // So many threads, the caller's among them.
  explicit cpu(int threads, const block_sizes& sizes = {}) : sizes_(sizes) {
    require(threads >= 1, "threads of a backend >= 1", threads, 1);
    if (threads > 1) {
      set_blas_threads(1);
      Eigen::setNbThreads(1);
      team_ = std::make_shared<thread_team>(threads);
    }
  }
  int threads() const { return team_ ? team_->size() : 1; }

  std::string describe() const {
    return std::string("cpu<") + (sizeof(T) == 4 ? "float" : "double") + ">, " +
           Kernels::describe() +
           (threads() > 1 ? ", " + std::to_string(threads()) + " threads" : "");
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

  void fill(T value, view<T> x) {
    in_columns(x, [&](index_t j, index_t n) { eigen_map(x.col_range(j, n)).setConstant(value); });
  }
  void copy(op t, view<const T> a, view<T> x) {
    require_copy_shapes<T>(t, a, x);
    in_columns(x, [&](index_t j, index_t n) {
      if (t == op::trans) {
        eigen_map(x.col_range(j, n)) = eigen_map(a.row_range(j, n)).transpose();
      } else {
        eigen_map(x.col_range(j, n)) = eigen_map(a.col_range(j, n));
      }
    });
  }

  template <class F, class M, class... Ms>
  void each(F f, M&& x, Ms&&... others) {
    if constexpr (packet_kernel<F> && packet<T>::available) {
      by_columns([f](index_t, index_t length,
                     auto*... columns) { for_each_packet<T>(f, length, columns...); },
                 view(x), view(others)...);
    } else {
      each_indexed([f](index_t, auto&... values) mutable { f(values...); }, x, others...);
    }
  }
  template <class F, class M, class... Ms>
  void each_indexed(F f, M&& x, Ms&&... others) {
    by_columns(
        [f](index_t start, index_t length, auto*... columns) {
          F kernel = f;  // a local one: stores cannot alias it
          for (index_t i = 0; i < length; ++i) {
            kernel(start + i, columns[i]...);
          }
        },
        view(x), view(others)...);
  }

  void scale_rows(view<const T> d, view<T> x) {
    require(d.rows() == x.rows(), "scale_rows: one factor a row", d.rows(), x.rows());
    in_columns(x, [&](index_t j, index_t n) {
      eigen_map(x.col_range(j, n)).array().colwise() *= eigen_map(d).col(0).array();
    });
  }
  void scale_cols(view<const T> d, view<T> x) {
    require(d.rows() == x.cols(), "scale_cols: one factor a column", d.rows(), x.cols());
    in_columns(x, [&](index_t j, index_t n) {
      const auto D = eigen_map(d.row_range(j, n));
      eigen_map(x.col_range(j, n)).array().rowwise() *= D.col(0).array().transpose();
    });
  }
  void add_to_cols(view<const T> b, view<T> x) {
    require(b.rows() == x.rows(), "add_to_cols: one term a row", b.rows(), x.rows());
    in_columns(x, [&](index_t j, index_t n) {
      eigen_map(x.col_range(j, n)).colwise() += eigen_map(b).col(0);
    });
  }
  void add_row_sums(T s, view<const T> a, view<T> x) {
    require(a.rows() == x.rows(), "add_row_sums: one sum a row", a.rows(), x.rows());
    in_rows(a, [&](index_t i, index_t m) {
      const auto A = eigen_map(a.row_range(i, m));
      auto sums = eigen_map(x.row_range(i, m)).col(0);
      for (index_t j = 0; j < a.cols(); ++j) {
        sums += s * A.col(j);
      }
    });
  }
  void add_row_dots(T s, view<const T> a, view<const T> b, view<T> x) {
    require(a.rows() == x.rows(), "add_row_dots: one sum a row", a.rows(), x.rows());
    require_same_shape("add_row_dots", a, b);
    in_rows(a, [&](index_t i, index_t m) {
      const auto A = eigen_map(a.row_range(i, m));
      const auto B = eigen_map(b.row_range(i, m));
      auto dots = eigen_map(x.row_range(i, m)).col(0);
      for (index_t j = 0; j < a.cols(); ++j) {
        dots += s * A.col(j).cwiseProduct(B.col(j));
      }
    });
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
    if (c.empty()) {
      return;
    }
    const index_t k = cols_of(ta, a);
    const product_cut by = blocks_of_product(ta, tb, c.rows(), c.cols(), k, threads(), sizes_);
    in_blocks(by.cut, [&](index_t first, index_t count) {
      const view<T> part = by.along_columns ? c.col_range(first, count) : c.row_range(first, count);
      const index_t row = by.along_columns ? 0 : first;
      const index_t col = by.along_columns ? first : 0;
      index_t inner = 0;
      do {
        const index_t depth = std::min(by.inner, k - inner);
        Kernels::template gemm<T>(alpha, ta, op_block(ta, a, row, inner, part.rows(), depth), tb,
                                  op_block(tb, b, inner, col, depth, part.cols()),
                                  inner == 0 ? beta : T(1), part);
        inner += depth;
      } while (inner < k);
    });
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
  void softmax_cols(view<T> x) {
    in_columns(x, [&](index_t first, index_t count) {
      column_operations::softmax(x.col_range(first, count));
    });
  }
  void softmax_cols_gradient(view<const T> p, view<T> d) {
    require_same_shape("softmax_cols_gradient", p, d);
    in_columns(d, [&](index_t first, index_t count) {
      column_operations::softmax_gradient(p.col_range(first, count), d.col_range(first, count));
    });
  }
  void layer_norm(T epsilon, view<const T> gamma, view<const T> beta, view<T> x, view<T> r,
                  view<T> y) {
    require_layer_norm_shapes<T>("layer_norm", gamma, x, y, r);
    require_layer_norm_shapes<T>("layer_norm", beta, x, y, r);
    in_columns(x, [&](index_t first, index_t count) {
      column_operations::layer_norm(epsilon, gamma, beta, x.col_range(first, count),
                                    r.block(first, 0, count, 1), y.col_range(first, count));
    });
  }
  void layer_norm_gradient(view<const T> gamma, view<const T> x, view<const T> r, view<T> d) {
    require_layer_norm_shapes<T>("layer_norm_gradient", gamma, x, d, r);
    in_columns(d, [&](index_t first, index_t count) {
      column_operations::layer_norm_gradient(
          gamma, x.col_range(first, count), r.block(first, 0, count, 1), d.col_range(first, count));
    });
  }

 private:
  // The block of op(a) whose first entry is (i, j).
  static view<const T> op_block(op t, view<const T> a, index_t i, index_t j, index_t rows,
                                index_t cols) {
    return t == op::none ? a.block(i, j, rows, cols) : a.block(j, i, cols, rows);
  }
  // f(number of the first entry, length, pointers) for every column, or part of one; where no
  // operand has gaps between its columns, all of them are one.
  template <class F, class V, class... Vs>
  void by_columns(const F& f, V x, Vs... others) {
    (require_same_shape("each", x, others), ...);
    const bool contiguous = x.ld() == x.rows() && ((others.ld() == others.rows()) && ...);
    if (contiguous) {
      in_blocks(blocks_of_entries(x.size(), x.size(), sizes_.unit),
                [&](index_t first, index_t count) {
                  f(first, count, x.data() + first, (others.data() + first)...);
                });
    } else {
      in_blocks(blocks_of_entries(x.cols(), x.size(), 1), [&](index_t first, index_t count) {
        for (index_t j = first; j < first + count; ++j) {
          f(j * x.rows(), x.rows(), x.data() + j * x.ld(), (others.data() + j * others.ld())...);
        }
      });
    }
  }
  block_cut blocks_of_entries(index_t length, index_t entries, index_t unit) const {
    return equal_blocks(length, entries, sizes_.entries, threads(), unit);
  }
  // f(first, count) for every block, shared out among the threads. One call of f, behind a pointer,
  // whatever the number of blocks: a program has hundreds of operations to compile.
  template <class F>
  void in_blocks(const block_cut& cut, const F& f) const {
    run_blocks(team_.get(), cut, std::addressof(f),
               [](const void* context, index_t first, index_t count) {
                 (*static_cast<const F*>(context))(first, count);
               });
  }
  template <class F>
  void in_columns(view<T> x, const F& f) {
    in_blocks(blocks_of_entries(x.cols(), x.size(), 1), f);
  }
  template <class F>
  void in_rows(view<const T> a, const F& f) {
    in_blocks(blocks_of_entries(a.rows(), a.size(), sizes_.unit), f);
  }

  std::shared_ptr<thread_team> team_;  // none of one thread
  block_sizes sizes_;
};

static_assert(backend<cpu<float, eigen_kernels>> && backend<cpu<double, eigen_kernels>>);
static_assert(backend<cpu<float>> && backend<cpu<double>>);

}  // namespace preheat
