// Every operation of concept `backend` against plain loops, on operands that are blocks of larger
// matrices, so that leading dimensions count and nothing outside the block may change.
#include <cmath>
#include <limits>
#include <preheat/linalg/symmetric.hpp>
#include <string>

#include "support/backends.hpp"
#include "support/block_in_frame.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

template <class Be>
table applied(transpose t, const table& a) {
  return t == transpose::yes ? transposed(a) : a;
}

// A symmetric positive definite matrix.
table positive_definite(index_t n) {
  const table a = random_table(n, n + 2, 17);
  return a * transposed(a) + identity(n);
}

struct affine {
  double a, b;
  template <class T>
  constexpr void operator()(T& x) const {
    x = T(a) * x + T(b);
  }
};
struct combine {
  template <class T>
  constexpr void operator()(T& x, const T& a, const T& b, const T& c) const {
    x = x + 2 * a - b * c;
  }
};
// Everything that a kernel of any value type may use: x and y are written, a is read.
struct of_any_value {
  static constexpr bool any_value = true;
  template <class V>
  constexpr void operator()(V& x, V& y, const V& a) const {
    using math::erf;
    using math::exp;
    using math::max;
    using math::sqrt;
    const V root = sqrt(x * x + 1.0F);
    x = max(V(root - 2.0F * a), V(-y)) + erf(a);
    y -= exp(-0.5F * a * a) / root;
  }
};
struct swap_pair {
  template <class T>
  constexpr void operator()(T& x, T& y) const {
    const T old = x;
    x = y;
    y = old;
  }
};
struct write_index {
  template <class T>
  constexpr void operator()(index_t i, T& x) const {
    x = T(i);
  }
};
struct add_index_times {
  template <class T>
  constexpr void operator()(index_t i, T& x, const T& y) const {
    x += T(i) * y;
  }
};

struct size_pair {
  index_t rows, cols;
};
constexpr size_pair shapes_of_interest[] = {{9, 4}, {4, 9}, {6, 6}, {1, 1}, {5, 1}, {1, 5}};

}  // namespace

TEST_CASE_TEMPLATE("backend: zeros and upload and download and fill", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  const mat<Be> Z = be.zeros(40, 3);
  CHECK(Z.rows() == 40);
  CHECK(Z.cols() == 3);
  CHECK(Z.ld() >= 40);
  CHECK(same(read<Be>(be, Z), table(40, 3)));

  const table t = read<Be>(be, matrix(be, random_table(40, 3, 1)));
  CHECK(same(t, read<Be>(be, matrix(be, t))));
  block_in_frame<Be> x(be, t);
  CHECK(same(x.read_block(be), t));
  CHECK(x.intact(be));
  be.fill(-2, x.block());
  CHECK(same(x.read_block(be), table(40, 3, -2)));
  CHECK(x.intact(be));
  CHECK(be.describe().size() > 0);
}

TEST_CASE_TEMPLATE("backend: copy and transposed copy", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  const table t = read<Be>(be, matrix(be, random_table(5, 8, 2)));
  block_in_frame<Be> a(be, t);
  block_in_frame<Be> plain(be, table(5, 8));
  block_in_frame<Be> turned(be, table(8, 5));
  be.copy(transpose::no, a.block(), plain.block());
  be.copy(transpose::yes, a.block(), turned.block());
  CHECK(same(plain.read_block(be), t));
  CHECK(same(turned.read_block(be), transposed(t)));
  CHECK(plain.intact(be));
  CHECK(turned.intact(be));
}

TEST_CASE_TEMPLATE("backend: resize keeps the memory of a shape that was there", Be,
                   PREHEAT_ALL_BACKENDS) {
  Be be;
  mat<Be> M = be.zeros(70, 9);
  const auto* memory = std::as_const(M).data();
  for (const size_pair s : {size_pair{70, 9}, {70, 2}, {33, 9}, {1, 1}, {0, 0}, {70, 9}}) {
    be.resize(M, s.rows, s.cols);
    CHECK(M.rows() == s.rows);
    CHECK(M.cols() == s.cols);
    CHECK(M.ld() >= s.rows);
    CHECK(std::as_const(M).data() == memory);
  }
}

TEST_CASE_TEMPLATE("backend: a moved matrix keeps its memory and a fresh one is empty", Be,
                   PREHEAT_ALL_BACKENDS) {
  Be be;
  mat<Be> M = be.zeros(3, 2);
  be.fill(4, M);
  const auto* memory = std::as_const(M).data();
  const mat<Be> N = std::move(M);
  CHECK(N.data() == memory);
  CHECK(same(read<Be>(be, N), table(3, 2, 4)));
  const mat<Be> fresh;
  CHECK(fresh.rows() == 0);
  CHECK(fresh.cols() == 0);
}

TEST_CASE_TEMPLATE("backend: each applies a kernel to any number of operands", Be,
                   PREHEAT_ALL_BACKENDS) {
  using T = scalar_of<Be>;
  Be be;
  const double tol = tolerance<Be>(1);
  const table tx = random_table(6, 5, 3);
  const table ta = random_table(6, 5, 4);
  const table tb = random_table(6, 5, 5);
  const table tc = random_table(6, 5, 6);
  table want = tx;
  for (std::size_t i = 0; i < want.values.size(); ++i) {
    want.values[i] += 2 * ta.values[i] - tb.values[i] * tc.values[i];
  }

  SUBCASE("blocks with gaps") {
    block_in_frame<Be> x(be, tx);
    block_in_frame<Be> a(be, ta);
    block_in_frame<Be> b(be, tb);
    block_in_frame<Be> c(be, tc);
    be.apply(combine{}, x.block(), a.block(), b.block(), c.block());
    CHECK(gap(x.read_block(be), want) < tol);
    CHECK(x.intact(be));
  }
  SUBCASE("whole matrices and a block together") {
    mat<Be> x = matrix(be, tx);
    const mat<Be> a = matrix(be, ta);
    block_in_frame<Be> b(be, tb);
    be.apply(combine{}, x, a, b.block(), matrix(be, tc));
    CHECK(gap(read<Be>(be, x), want) < tol);
  }
  SUBCASE("one operand") {
    mat<Be> x = matrix(be, tx);
    be.apply(affine{-2, 1}, x);
    CHECK(gap(read<Be>(be, x), -2.0 * tx + table(6, 5, 1)) < tol);
  }
  SUBCASE("two operands that are both written") {
    mat<Be> x = matrix(be, table(6, 5, 1));
    mat<Be> y = matrix(be, table(6, 5, 2));
    be.apply(swap_pair{}, x, y);
    CHECK(same(read<Be>(be, x), table(6, 5, 2)));
    CHECK(same(read<Be>(be, y), table(6, 5, 1)));
  }
  SUBCASE("nothing to do") {
    mat<Be> x = be.zeros(0, 5);
    be.apply(affine{1, 1}, x);
    be.apply(kernel_archetype<T>{}, x, be.zeros(0, 5));
    CHECK(x.cols() == 5);
  }
}

// In packets or one by one, an entry's result depends on its operands alone: not on the length of
// the column, nor on where in it the entry stands.
TEST_CASE_TEMPLATE("backend: kernels of any value type", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  table tx = random_table(67, 2, 7);
  table ty = random_table(67, 2, 8);
  const table ta = random_table(67, 2, 9);
  const auto apply = [&](index_t first, index_t rows) {
    block_in_frame<Be> x(be, tx);
    block_in_frame<Be> y(be, ty);
    block_in_frame<Be> a(be, ta);
    be.apply(of_any_value{}, x.block().row_range(first, rows), y.block().row_range(first, rows),
             const_view_of<Be>(a.block()).row_range(first, rows));
    CHECK(x.intact(be));
    CHECK(y.intact(be));
    CHECK(a.intact(be));
    CHECK(same(a.read_block(be), read<Be>(be, matrix(be, ta))));
    return std::pair(x.read_block(be), y.read_block(be));
  };
  const auto [x, y] = apply(0, 67);
  table want_x = tx;
  table want_y = ty;
  for (std::size_t i = 0; i < want_x.values.size(); ++i) {
    const double root = std::sqrt(tx.values[i] * tx.values[i] + 1);
    const double a = ta.values[i];
    want_x.values[i] = std::max(root - 2 * a, -ty.values[i]) + std::erf(a);
    want_y.values[i] -= std::exp(-a * a / 2) / root;
  }
  CHECK(gap(x, want_x) < tolerance<Be>(1));
  CHECK(gap(y, want_y) < tolerance<Be>(1));
  for (const index_t first : {1, 3, 20}) {
    for (const index_t rows : {1, 2, 7, 16, 33, 47}) {
      const auto [part_x, part_y] = apply(first, rows);
      bool equal = true;
      for (index_t i = first; i < first + rows; ++i) {
        equal = equal && part_x(i, 1) == x(i, 1) && part_y(i, 1) == y(i, 1);
      }
      CHECK(equal);
    }
  }
}

TEST_CASE_TEMPLATE("backend: a NaN goes through kernels of any value type", Be,
                   PREHEAT_ALL_BACKENDS) {
  Be be;
  table spoilt = random_table(40, 1, 10);
  spoilt(3, 0) = not_a_number;
  for (const int operand : {0, 1, 2}) {
    mat<Be> x = matrix(be, operand == 0 ? spoilt : random_table(40, 1, 11));
    mat<Be> y = matrix(be, operand == 1 ? spoilt : random_table(40, 1, 12));
    be.apply(of_any_value{}, x, y, matrix(be, operand == 2 ? spoilt : random_table(40, 1, 13)));
    const table got = read<Be>(be, x);
    for (index_t i = 0; i < 40; ++i) {
      CHECK(std::isnan(got(i, 0)) == (i == 3));
    }
  }
}

TEST_CASE_TEMPLATE("backend: apply_indexed counts i + j rows whatever the leading dimension", Be,
                   PREHEAT_ALL_BACKENDS) {
  Be be;
  table want(6, 5);
  for (std::size_t i = 0; i < want.values.size(); ++i) {
    want.values[i] = double(i);
  }
  mat<Be> whole = be.zeros(6, 5);
  be.apply_indexed(write_index{}, whole);
  CHECK(same(read<Be>(be, whole), want));
  block_in_frame<Be> x(be, table(6, 5));
  be.apply_indexed(write_index{}, x.block());
  CHECK(same(x.read_block(be), want));
  CHECK(x.intact(be));
  be.apply_indexed(add_index_times{}, x.block(), matrix(be, table(6, 5, 2)));
  CHECK(same(x.read_block(be), 3.0 * want));
}

TEST_CASE_TEMPLATE("backend: vectors against matrices", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  const double tol = tolerance<Be>(7);
  const table t = random_table(4, 7, 7);
  const table rows = random_table(4, 1, 8);
  const table cols = random_table(7, 1, 9);
  block_in_frame<Be> x(be, t);
  block_in_frame<Be> by_row(be, rows);
  block_in_frame<Be> by_col(be, cols);

  SUBCASE("scale_rows") {
    be.scale_rows(by_row.block(), x.block());
    CHECK(gap(x.read_block(be), diagonal(rows.values) * t) < tol);
  }
  SUBCASE("scale_cols") {
    be.scale_cols(by_col.block(), x.block());
    CHECK(gap(x.read_block(be), t * diagonal(cols.values)) < tol);
  }
  SUBCASE("add_to_cols") {
    be.add_to_cols(by_row.block(), x.block());
    CHECK(gap(x.read_block(be), t + rows * table(1, 7, 1)) < tol);
  }
  SUBCASE("add_row_sums") {
    be.add_row_sums(-3, x.block(), by_row.block());
    CHECK(gap(by_row.read_block(be), rows + -3.0 * t * table(7, 1, 1)) < tol);
  }
  SUBCASE("add_row_dots") {
    const table u = random_table(4, 7, 10);
    block_in_frame<Be> y(be, u);
    be.add_row_dots(2, x.block(), y.block(), by_row.block());
    const table products = t * transposed(u);
    table want = rows;
    for (index_t i = 0; i < 4; ++i) {
      want(i, 0) += 2 * products(i, i);
    }
    CHECK(gap(by_row.read_block(be), want) < tol);
  }
  CHECK(x.intact(be));
  CHECK(by_row.intact(be));
}

TEST_CASE_TEMPLATE("backend: reductions to the host", Be, PREHEAT_ALL_BACKENDS) {
  using T = scalar_of<Be>;
  Be be;
  table t = random_table(9, 6, 11);
  const table u = random_table(9, 6, 12);
  block_in_frame<Be> x(be, t);
  block_in_frame<Be> y(be, u);
  CHECK(std::abs(double(be.dot(x.block(), y.block())) - dot(t, u)) < tolerance<Be>(54));
  CHECK(double(be.max_abs(x.block())) == doctest::Approx(largest(t)).epsilon(epsilon<Be>));
  CHECK(be.dot(be.zeros(0, 3), be.zeros(0, 3)) == T(0));
  CHECK(be.max_abs(be.zeros(3, 0)) == T(0));

  // The largest magnitude may be negative; a NaN anywhere is the result; so is an infinity.
  t(8, 5) = -1e6;
  CHECK(double(be.max_abs(matrix(be, t))) == 1e6);
  for (const index_t place : {index_t(0), index_t(31), index_t(53)}) {
    table spoilt = t;
    spoilt.values[place] = not_a_number;
    block_in_frame<Be> bad(be, spoilt);
    CHECK(std::isnan(double(be.max_abs(bad.block()))));
  }
  t(0, 0) = -std::numeric_limits<double>::infinity();
  CHECK(std::isinf(double(be.max_abs(matrix(be, t)))));
}

TEST_CASE_TEMPLATE("backend: gemm is s op(a) op(b) + t x and t = 0 ignores x", Be,
                   PREHEAT_ALL_BACKENDS) {
  using T = scalar_of<Be>;
  Be be;
  const index_t m = 5;
  const index_t n = 7;
  for (const index_t k : {index_t(0), index_t(1), index_t(6)}) {
    for (const transpose ta : {transpose::no, transpose::yes}) {
      for (const transpose tb : {transpose::no, transpose::yes}) {
        const table a = ta == transpose::no ? random_table(m, k, 13) : random_table(k, m, 13);
        const table b = tb == transpose::no ? random_table(k, n, 14) : random_table(n, k, 14);
        block_in_frame<Be> A(be, a);
        block_in_frame<Be> B(be, b);
        const table product = applied<Be>(ta, a) * applied<Be>(tb, b);
        for (const double alpha : {1.0, -0.5}) {
          for (const double beta : {0.0, 1.0, 0.25}) {
            const table before = random_table(m, n, 15);
            block_in_frame<Be> X(be, beta == 0 ? table(m, n, not_a_number) : before);
            be.gemm(T(alpha), ta, A.block(), tb, B.block(), T(beta), X.block());
            CAPTURE(k);
            CAPTURE(int(ta));
            CAPTURE(int(tb));
            CAPTURE(alpha);
            CAPTURE(beta);
            CHECK(gap(X.read_block(be), alpha * product + beta * before) < tolerance<Be>(k + 1));
            CHECK(X.intact(be));
          }
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("backend: gram fills both triangles", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  const table a = random_table(5, 8, 16);
  block_in_frame<Be> A(be, a);
  block_in_frame<Be> small(be, table(5, 5, not_a_number));
  block_in_frame<Be> large(be, table(8, 8, not_a_number));
  be.gram(transpose::no, A.block(), small.block());
  be.gram(transpose::yes, A.block(), large.block());
  CHECK(gap(small.read_block(be), a * transposed(a)) < tolerance<Be>(8));
  CHECK(gap(large.read_block(be), transposed(a) * a) < tolerance<Be>(5));
  CHECK(same(large.read_block(be), transposed(large.read_block(be))));
  CHECK(small.intact(be));
  CHECK(large.intact(be));
}

// A backend may offer its Gram matrices in a wider precision: then float loses nothing in it.
TEST_CASE_TEMPLATE("backend: gram in double of float factors", Be, PREHEAT_ALL_BACKENDS) {
  if constexpr (mixed_precision_backend<Be>) {
    using wide = typename Be::higher_precision;
    Be be;
    wide wide_be;
    const mat<Be> tall = matrix(be, random_table(7001, 5, 18));
    const table a = read<Be>(be, tall);  // rounded to float
    block_in_frame<wide> G(wide_be, table(5, 5, not_a_number));
    be.gram(transpose::yes, const_view_of<Be>(tall), G.block());
    CHECK(gap(G.read_block(wide_be), transposed(a) * a) < tolerance<wide>(7001));
    CHECK(G.intact(wide_be));
    block_in_frame<wide> H(wide_be, table(5, 5, not_a_number));
    be.gram(transpose::no, const_view_of<Be>(matrix(be, transposed(a))), H.block());
    CHECK(gap(H.read_block(wide_be), transposed(a) * a) < tolerance<wide>(7001));
  }
}

TEST_CASE_TEMPLATE("backend: cholesky and triangular solves", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  const index_t n = 6;
  const table g = positive_definite(n);
  block_in_frame<Be> R(be, g);
  REQUIRE(be.cholesky(R.block()));
  const table r = R.read_block(be);
  CHECK(gap(transposed(r) * r, g) < tolerance<Be>(n) * largest(g));
  CHECK(R.intact(be));
  for (index_t j = 0; j < n; ++j) {
    for (index_t i = j + 1; i < n; ++i) {
      CHECK(r(i, j) == 0);
    }
  }

  const table b = random_table(n, 3, 18);
  block_in_frame<Be> X(be, b);
  be.solve_upper(transpose::no, R.block(), X.block());
  CHECK(gap(r * X.read_block(be), b) < tolerance<Be>(n) * largest(g));
  CHECK(X.intact(be));
  block_in_frame<Be> Y(be, b);
  be.solve_upper(transpose::yes, R.block(), Y.block());
  CHECK(gap(transposed(r) * Y.read_block(be), b) < tolerance<Be>(n) * largest(g));
}

TEST_CASE_TEMPLATE("backend: cholesky says when a matrix is not positive definite", Be,
                   PREHEAT_ALL_BACKENDS) {
  Be be;
  table indefinite = positive_definite(4);
  indefinite(3, 3) = -1;
  mat<Be> G = matrix(be, indefinite);
  CHECK_FALSE(be.cholesky(G));
  mat<Be> zero = be.zeros(3, 3);
  CHECK_FALSE(be.cholesky(zero));
  for (const double bad : {std::nan(""), HUGE_VAL}) {
    for (index_t i = 0; i < 4; ++i) {
      table broken = positive_definite(4);
      broken(i, 3) = broken(3, i) = bad;
      mat<Be> M = matrix(be, broken);
      CHECK_FALSE(be.cholesky(M));
    }
  }
}

TEST_CASE_TEMPLATE("backend: thin QR", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  for (const auto& s : shapes_of_interest) {
    CAPTURE(s.rows);
    CAPTURE(s.cols);
    const index_t k = std::min(s.rows, s.cols);
    const table a = random_table(s.rows, s.cols, 19);
    block_in_frame<Be> A(be, a);
    const auto f = be.qr(A.block());
    const table q = read<Be>(be, f.Q);
    const table r = read<Be>(be, f.R);
    REQUIRE(q.rows == s.rows);
    REQUIRE(q.cols == k);
    REQUIRE(r.rows == k);
    REQUIRE(r.cols == s.cols);
    CHECK(orthonormality_gap(q) < tolerance<Be>(s.rows));
    CHECK(gap(q * r, a) < tolerance<Be>(s.rows) * largest(a));
    for (index_t j = 0; j < s.cols; ++j) {
      for (index_t i = j + 1; i < k; ++i) {
        CHECK(r(i, j) == 0);
      }
    }
    CHECK(A.intact(be));
  }
}

TEST_CASE_TEMPLATE("backend: thin QR of dependent columns has an orthonormal Q", Be,
                   PREHEAT_ALL_BACKENDS) {
  Be be;
  const table a = random_table(7, 2, 20) * random_table(2, 5, 21);
  const auto f = be.qr(matrix(be, a));
  CHECK(orthonormality_gap(read<Be>(be, f.Q)) < tolerance<Be>(7));
  CHECK(gap(read<Be>(be, f.Q) * read<Be>(be, f.R), a) < tolerance<Be>(7) * largest(a));
  CHECK(orthonormality_gap(read<Be>(be, be.qr(be.zeros(6, 3)).Q)) < tolerance<Be>(6));
}

namespace {

template <class Be>
void check_svd(Be& be, const table& a) {
  CAPTURE(a.rows);
  CAPTURE(a.cols);
  const index_t k = std::min(a.rows, a.cols);
  block_in_frame<Be> A(be, a);
  const auto d = be.svd(A.block());
  const table u = read<Be>(be, d.U);
  const table s = read<Be>(be, d.S);
  const table v = read<Be>(be, d.V);
  REQUIRE(u.rows == a.rows);
  REQUIRE(u.cols == k);
  REQUIRE(s.rows == k);
  REQUIRE(s.cols == 1);
  REQUIRE(v.rows == a.cols);
  REQUIRE(v.cols == k);
  const double tol = tolerance<Be>(std::max(a.rows, a.cols));
  CHECK(orthonormality_gap(u) < tol);
  CHECK(orthonormality_gap(v) < tol);
  CHECK(gap(u * diagonal(s.values) * transposed(v), a) <= tol * std::sqrt(square_norm(a)));
  CHECK(s.values.back() >= 0);
  CHECK(std::is_sorted(s.values.rbegin(), s.values.rend()));
  CHECK(A.intact(be));
}

}  // namespace

TEST_CASE_TEMPLATE("backend: thin SVD", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  for (const auto& s : shapes_of_interest) {
    check_svd(be, random_table(s.rows, s.cols, 22));
  }
  check_svd(be, random_table(9, 2, 23) * random_table(2, 6, 24));  // rank 2
  check_svd(be, table(5, 4));                                      // rank 0
  check_svd(be, table(3, 6, 1));                                   // rank 1
  check_svd(be, identity(4));                                      // equal singular values
}

TEST_CASE_TEMPLATE("backend: symmetric eigenvalues in increasing order", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  table a = random_table(6, 6, 25);
  a = a + transposed(a);
  block_in_frame<Be> A(be, a);
  const auto e = be.eigh(A.block());
  const table values = read<Be>(be, e.values);
  const table vectors = read<Be>(be, e.vectors);
  REQUIRE(values.rows == 6);
  REQUIRE(values.cols == 1);
  CHECK(std::is_sorted(values.values.begin(), values.values.end()));
  CHECK(values(0, 0) < 0);  // the matrix is indefinite: signs are kept
  CHECK(orthonormality_gap(vectors) < tolerance<Be>(6));
  CHECK(gap(a * vectors, vectors * diagonal(values.values)) < tolerance<Be>(6) * largest(a));
  CHECK(A.intact(be));
}

TEST_CASE_TEMPLATE("backend: the largest eigenvalues alone", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  const table a = random_table(30, 30, 26);
  const table symmetric = a + transposed(a);
  const mat<Be> A = matrix(be, symmetric);
  const table all = read<Be>(be, be.eigh(A).values);
  for (const index_t k : {1, 4, 20, 30}) {
    const auto e = linalg::largest_eigenpairs<Be>(be, A, k);
    const table values = read<Be>(be, e.values);
    const table vectors = read<Be>(be, e.vectors);
    REQUIRE(values.rows == k);
    REQUIRE(vectors.cols == k);
    for (index_t i = 0; i < k; ++i) {
      CHECK(std::abs(values(i, 0) - all(29 - i, 0)) < tolerance<Be>(30));
    }
    CHECK(orthonormality_gap(vectors) < tolerance<Be>(30));
    CHECK(gap(symmetric * vectors, vectors * diagonal(values.values)) < tolerance<Be>(120));
  }
}

TEST_CASE_TEMPLATE("backend: softmax cross-entropy and its gradient", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  const index_t classes = 4;
  const index_t tokens = 5;
  const table z = 3.0 * random_table(classes, tokens, 26);
  table labels(1, tokens);
  table gradient(classes, tokens);
  double loss = 0;
  for (index_t j = 0; j < tokens; ++j) {
    const index_t label = (3 * j) % classes;
    labels(0, j) = double(label);
    double sum = 0;
    for (index_t i = 0; i < classes; ++i) {
      sum += std::exp(z(i, j));
    }
    loss += (std::log(sum) - z(label, j)) / double(tokens);
    for (index_t i = 0; i < classes; ++i) {
      gradient(i, j) = (std::exp(z(i, j)) / sum - (i == label ? 1 : 0)) / double(tokens);
    }
  }
  block_in_frame<Be> Z(be, z);
  block_in_frame<Be> L(be, labels);
  block_in_frame<Be> D(be, table(classes, tokens));
  const double got = double(be.softmax_cross_entropy(Z.block(), L.block(), D.block()));
  CHECK(std::abs(got - loss) < tolerance<Be>(1) * 10);
  CHECK(gap(D.read_block(be), gradient) < tolerance<Be>(1));
  CHECK(D.intact(be));

  // Outputs of any size: no overflow.
  const table huge = 1e4 * z;
  CHECK(std::isfinite(double(be.softmax_cross_entropy(matrix(be, huge), L.block(), D.block()))));
  CHECK(largest(D.read_block(be)) <= 1);
}
