// The members of preheat::cpu that are no templates themselves: defined outside the class, and so
// not inline, that a program linked to preheat::kernels need not compile them.
#pragma once
#include <algorithm>
#include <cmath>

#include "backend.hpp"
#include "backend_column_members.hpp"
#include "copies.hpp"

namespace preheat {

template <class T, class Kernels>
cpu<T, Kernels>::cpu(int threads, const block_sizes& sizes) : sizes_(sizes) {
  require(threads >= 1, "threads of a backend >= 1", threads, 1);
  if (threads > 1) {
    set_blas_threads(1);
    Eigen::setNbThreads(1);
    team_ = std::make_shared<thread_team>(threads);
  }
}

template <class T, class Kernels>
std::string cpu<T, Kernels>::describe() const {
  return std::string("cpu<") + (sizeof(T) == 4 ? "float" : "double") + ">, " + Kernels::describe() +
         instruction_set_in_use() +
         (threads() > 1 ? ", " + detail::shown_number(threads()).text() + " threads" : "");
}

// ---------------------------------------------------------------------------------------- memory

template <class T, class Kernels>
[[gnu::noinline]] cpu_matrix<T> cpu<T, Kernels>::zeros(index_t m, index_t n) {
  matrix M(m, n);
  fill(0, M);
  return M;
}
template <class T, class Kernels>
void cpu<T, Kernels>::resize(matrix& M, index_t m, index_t n) {
  M.resize(m, n);
}
template <class T, class Kernels>
void cpu<T, Kernels>::upload(std::span<const T> host, view<T> x) {
  require(index_t(host.size()) == x.size(), "upload: as many numbers as entries", host.size(),
          x.size());
  copy(transpose::no, view<const T>(host.data(), x.rows(), x.cols()), x);
}
template <class T, class Kernels>
std::vector<T> cpu<T, Kernels>::download(view<const T> a) {
  std::vector<T> host(std::size_t(a.size()));
  copy(transpose::no, a, view<T>(host.data(), a.rows(), a.cols()));
  return host;
}
template <class T, class Kernels>
void cpu<T, Kernels>::fill(T value, view<T> x) {
  in_columns(x, [&](index_t j, index_t n) { operations::fill(value, columns(x.col_range(j, n))); });
}
template <class T, class Kernels>
void cpu<T, Kernels>::copy(transpose t, view<const T> a, view<T> x) {
  require_copy_shapes<T>(t, a, x);
  in_columns(x, [&](index_t j, index_t n) {
    const view<T> to = x.col_range(j, n);
    if (t == transpose::yes) {
      copy_transposed(a.row_range(j, n), to);
    } else {
      copy_columns(a.col_range(j, n), to);
    }
  });
}

template <class T, class Kernels>
void cpu<T, Kernels>::unpack_rows(const stored_matrix& stored, index_t first, view<T> x) {
  require(x.rows() == stored.cols(), "unpack_rows: entries of a row", x.rows(), stored.cols());
  require(0 <= first && first + x.cols() <= stored.rows(), "unpack_rows: rows of the stored matrix",
          first + x.cols(), stored.rows());
  in_columns(x, [&](index_t j, index_t n) {
    for (index_t row = first + j; row < first + j + n; ++row) {
      T* const to = x.data() + (row - first) * x.ld();
      if constexpr (std::same_as<T, float>) {
        stored.unpack(row, 0, x.rows(), to);
      } else {
        float piece[stored_piece];
        for (index_t i = 0; i < x.rows(); i += stored_piece) {
          const index_t end = std::min(i + stored_piece, x.rows());
          stored.unpack(row, i, end, piece);
          std::copy_n(piece, end - i, to + i);
        }
      }
    }
  });
}

// ----------------------------------------------------------------------------------- elementwise

// One pass for every column, or part of one; where no operand has gaps between its columns, all of
// them are one.
template <class T, class Kernels>
void cpu<T, Kernels>::run_pass(pass_function<T>* pass, const void* kernel,
                               std::initializer_list<view<T>> operands) const {
  const view<T>& x = *operands.begin();
  bool contiguous = true;
  for (const view<T>& other : operands) {
    require_same_shape("apply", x, other);
    contiguous = contiguous && other.ld() == other.rows();
  }
  const auto one_pass = [&](index_t first, index_t length, index_t column) {
    T* at[most_operands];
    std::transform(operands.begin(), operands.end(), at, [&](const view<T>& other) {
      return other.data() + (contiguous ? first : column * other.ld());
    });
    pass(kernel, first, length, at);
  };
  if (contiguous) {
    in_blocks(blocks_of_entries(x.size(), x.size(), sizes_.unit),
              [&](index_t first, index_t count) { one_pass(first, count, 0); });
  } else {
    in_blocks(blocks_of_entries(x.cols(), x.size(), 1), [&](index_t first, index_t count) {
      for (index_t j = first; j < first + count; ++j) {
        one_pass(j * x.rows(), x.rows(), j);
      }
    });
  }
}

template <class T, class Kernels>
void cpu<T, Kernels>::scale_rows(view<const T> d, view<T> x) {
  require(d.rows() == x.rows(), "scale_rows: one factor per row", d.rows(), x.rows());
  in_columns(x, [&](index_t j, index_t n) {
    operations::scale_rows(d.data(), columns(x.col_range(j, n)));
  });
}
template <class T, class Kernels>
void cpu<T, Kernels>::scale_cols(view<const T> d, view<T> x) {
  require(d.rows() == x.cols(), "scale_cols: one factor per column", d.rows(), x.cols());
  in_columns(x, [&](index_t j, index_t n) {
    operations::scale_cols(d.data() + j, columns(x.col_range(j, n)));
  });
}
template <class T, class Kernels>
void cpu<T, Kernels>::add_to_cols(view<const T> b, view<T> x) {
  require(b.rows() == x.rows(), "add_to_cols: one term per row", b.rows(), x.rows());
  in_columns(x, [&](index_t j, index_t n) {
    operations::add_to_cols(b.data(), columns(x.col_range(j, n)));
  });
}
template <class T, class Kernels>
void cpu<T, Kernels>::add_row_sums(T s, view<const T> a, view<T> x) {
  require(a.rows() == x.rows(), "add_row_sums: one sum per row", a.rows(), x.rows());
  in_rows(a, [&](index_t i, index_t m) {
    operations::add_row_sums(s, columns(a.row_range(i, m)), x.data() + i);
  });
}
template <class T, class Kernels>
void cpu<T, Kernels>::add_row_dots(T s, view<const T> a, view<const T> b, view<T> x) {
  require(a.rows() == x.rows(), "add_row_dots: one sum per row", a.rows(), x.rows());
  require_same_shape("add_row_dots", a, b);
  in_rows(a, [&](index_t i, index_t m) {
    operations::add_row_dots(s, columns(a.row_range(i, m)), columns(b.row_range(i, m)),
                             x.data() + i);
  });
}

// ------------------------------------------------------------------------------------ reductions

template <class T, class Kernels>
T cpu<T, Kernels>::dot(view<const T> a, view<const T> b) {
  require_same_shape("dot", a, b);
  return operations::dot(columns(a), columns(b));
}
template <class T, class Kernels>
T cpu<T, Kernels>::max_abs(view<const T> a) {
  return operations::max_abs(columns(a));
}

// ------------------------------------------------------------------- products and factorizations

template <class T, class Kernels>
void cpu<T, Kernels>::gemm(T alpha, transpose ta, view<const T> a, transpose tb, view<const T> b,
                           T beta, view<T> c) {
  require_product_shapes<T>(ta, a, tb, b, c);
  if (c.empty()) {
    return;
  }
  const index_t k = cols_of(ta, a);
  const product_cut by = blocks_of_product(ta, tb, c.rows(), c.cols(), k, threads(), sizes_);
  in_blocks(by.cut, [&](index_t first, index_t count) {
    const index_t row = by.along_columns ? 0 : first;
    const index_t col = by.along_columns ? first : 0;
    const view<T> part =
        c.block(row, col, by.along_columns ? c.rows() : count, by.along_columns ? count : c.cols());
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
template <class T, class Kernels>
void cpu<T, Kernels>::gram(transpose t, view<const T> a, view<T> c) {
  require_gram_shapes<T>(t, a, c);
  if (!c.empty()) {
    Kernels::template gram<T>(t, a, 0, c);
  }
}
template <class T, class Kernels>
template <std::same_as<double> Higher>
requires std::same_as<T, float>
void cpu<T, Kernels>::gram(transpose t, view<const T> a, view<Higher> c) {
  const index_t n = require_gram_shapes<T>(t, a, c);
  const index_t length = cols_of(t, a);
  cpu<double, Kernels>().fill(0, c);
  constexpr index_t panel_size = 1 << 15;  // numbers: a quarter of a megabyte
  const index_t step = std::max<index_t>(1, panel_size / std::max<index_t>(n, 1));
  cpu_matrix<double> panel;
  for (index_t i = 0; n > 0 && i < length; i += step) {
    const index_t count = std::min(step, length - i);
    const view<const T> part = t == transpose::no ? a.col_range(i, count) : a.row_range(i, count);
    panel.resize(part.rows(), part.cols());
    copy_columns(part, view<double>(panel));
    Kernels::template gram<double>(t, panel, 1, c);
  }
}
template <class T, class Kernels>
bool cpu<T, Kernels>::cholesky(view<T> g) {
  require(g.rows() == g.cols(), "cholesky: the matrix is square", g.rows(), g.cols());
  if (!Kernels::template cholesky<T>(g)) {
    return false;
  }
  // LAPACK may go on with a NaN or an infinite entry, which then reaches the diagonal of its row.
  for (index_t i = 0; i < g.rows(); ++i) {
    if (!std::isfinite(g.data()[i + i * g.ld()])) {
      return false;
    }
  }
  return true;
}
template <class T, class Kernels>
void cpu<T, Kernels>::solve_upper(transpose t, view<const T> r, view<T> x) {
  require(r.rows() == r.cols(), "solve_upper: the triangle is square", r.rows(), r.cols());
  require(r.rows() == x.rows(), "solve_upper: rows agree", r.rows(), x.rows());
  if (!x.empty()) {
    Kernels::template solve_upper<T>(t, r, x);
  }
}
template <class T, class Kernels>
qr_result<cpu_matrix<T>> cpu<T, Kernels>::qr(view<const T> a) {
  require(!a.empty(), "qr: the matrix is not empty", a.rows(), a.cols());
  return Kernels::template qr<T>(a);
}
template <class T, class Kernels>
svd_result<cpu_matrix<T>> cpu<T, Kernels>::svd(view<const T> a) {
  require(!a.empty(), "svd: the matrix is not empty", a.rows(), a.cols());
  return Kernels::template svd<T>(a);
}
template <class T, class Kernels>
eigh_result<cpu_matrix<T>> cpu<T, Kernels>::eigh(view<const T> a) {
  require(a.rows() == a.cols() && !a.empty(), "eigh: the matrix is square", a.rows(), a.cols());
  return Kernels::template eigh<T>(a);
}
template <class T, class Kernels>
eigh_result<cpu_matrix<T>> cpu<T, Kernels>::eigh_largest(view<const T> a, index_t k) {
  require(a.rows() == a.cols(), "eigh_largest: the matrix is square", a.rows(), a.cols());
  require(1 <= k && k <= a.rows(), "eigh_largest: 1 <= count <= rows", k, a.rows());
  return Kernels::template eigh_largest<T>(a, k);
}

}  // namespace preheat
