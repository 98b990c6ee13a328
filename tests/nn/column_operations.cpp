// Softmax and layer normalization of columns, and their gradients, against plain loops on blocks of
// larger matrices; and the gradients against differences.
#include <cmath>
#include <preheat/nn/encoder_backend.hpp>

#include "support/backends.hpp"
#include "support/block_in_frame.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr double layer_norm_epsilon = 1e-3;

table softmax(const table& x) {
  table p = x;
  for (index_t j = 0; j < x.cols; ++j) {
    double sum = 0;
    for (index_t i = 0; i < x.rows; ++i) {
      sum += std::exp(x(i, j));
    }
    for (index_t i = 0; i < x.rows; ++i) {
      p(i, j) = std::exp(x(i, j)) / sum;
    }
  }
  return p;
}

struct normalized {
  table x, r, y;
};
normalized layer_norm(const table& x, const table& gamma, const table& beta) {
  normalized n{x, table(x.cols, 1), x};
  for (index_t j = 0; j < x.cols; ++j) {
    double mean = 0;
    double variance = 0;
    for (index_t i = 0; i < x.rows; ++i) {
      mean += x(i, j) / double(x.rows);
    }
    for (index_t i = 0; i < x.rows; ++i) {
      variance += (x(i, j) - mean) * (x(i, j) - mean) / double(x.rows);
    }
    n.r(j, 0) = 1 / std::sqrt(variance + layer_norm_epsilon);
    for (index_t i = 0; i < x.rows; ++i) {
      n.x(i, j) = n.r(j, 0) * (x(i, j) - mean);
      n.y(i, j) = gamma(i, 0) * n.x(i, j) + beta(i, 0);
    }
  }
  return n;
}

// ∂(Σ w⊙f(x))/∂x by differences.
template <class F>
table difference(F f, const table& x, const table& w) {
  const double h = 1e-5;  // differences err by h² and by ε/h
  table g = x;
  for (std::size_t k = 0; k < x.values.size(); ++k) {
    table moved = x;
    moved.values[k] = x.values[k] + h;
    const double up = dot(w, f(moved));
    moved.values[k] = x.values[k] - h;
    g.values[k] = (up - dot(w, f(moved))) / (2 * h);
  }
  return g;
}

constexpr index_t rows = 19;  // no multiple of a packet
constexpr index_t cols = 6;
const table x = 2.0 * random_table(rows, cols, 1);
const table w = random_table(rows, cols, 2);
const table gamma_ = random_table(rows, 1, 3);
const table beta_ = random_table(rows, 1, 4);

template <class Be>
constexpr double bound = std::max(tolerance<Be>(4), 1e-8);

}  // namespace

TEST_CASE_TEMPLATE("columns: softmax and its gradient", Be, PREHEAT_ALL_BACKENDS) {
  static_assert(nn::encoder_backend<Be>);
  Be be;
  block_in_frame<Be> p(be, x);
  be.softmax_cols(p.block());
  CHECK(gap(p.read_block(be), softmax(x)) < tolerance<Be>(1));
  block_in_frame<Be> d(be, w);
  be.softmax_cols_gradient(p.block(), d.block());
  CHECK(gap(d.read_block(be), difference(softmax, x, w)) < bound<Be>);
  CHECK(p.intact(be));
  CHECK(d.intact(be));
}

TEST_CASE_TEMPLATE("columns: softmax of large numbers, of one row and of nothing", Be,
                   PREHEAT_ALL_BACKENDS) {
  Be be;
  mat<Be> large = matrix(be, 1000.0 * x);
  be.softmax_cols(large);
  const table p = read<Be>(be, large);
  for (index_t j = 0; j < cols; ++j) {
    CHECK(std::abs(dot(columns(p, j, 1), table(rows, 1, 1)) - 1) < tolerance<Be>(1));
  }
  mat<Be> one = matrix(be, random_table(1, cols, 5));
  be.softmax_cols(one);
  CHECK(same(read<Be>(be, one), table(1, cols, 1)));
  mat<Be> nothing = be.zeros(0, cols);
  be.softmax_cols(nothing);
}

TEST_CASE_TEMPLATE("columns: layer norm and its gradient", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  const mat<Be> gamma = matrix(be, gamma_);
  const mat<Be> beta = matrix(be, beta_);
  block_in_frame<Be> input(be, x);
  block_in_frame<Be> y(be, table(rows, cols));
  mat<Be> r = be.zeros(cols, 1);
  using T = typename Be::scalar;
  be.layer_norm(T(layer_norm_epsilon), gamma, beta, input.block(), r, y.block());
  const normalized expected = layer_norm(x, gamma_, beta_);
  CHECK(gap(input.read_block(be), expected.x) < tolerance<Be>(2));
  CHECK(gap(read<Be>(be, r), expected.r) < tolerance<Be>(2));
  CHECK(gap(y.read_block(be), expected.y) < tolerance<Be>(4));

  block_in_frame<Be> d(be, w);
  be.layer_norm_gradient(gamma, input.block(), r, d.block());
  const auto output = [&](const table& z) { return layer_norm(z, gamma_, beta_).y; };
  CHECK(gap(d.read_block(be), difference(output, x, w)) < bound<Be>);
  CHECK(input.intact(be));
  CHECK(y.intact(be));
  CHECK(d.intact(be));
}

TEST_CASE_TEMPLATE("columns: layer norm of numbers far from zero", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  const table far = read<Be>(be, matrix(be, x + table(rows, cols, 1000.3)));
  block_in_frame<Be> input(be, far);
  mat<Be> y = be.zeros(rows, cols);
  mat<Be> r = be.zeros(cols, 1);
  be.layer_norm(scalar_of<Be>(layer_norm_epsilon), matrix(be, gamma_), matrix(be, beta_),
                input.block(), r, y);
  const normalized expected = layer_norm(far, gamma_, beta_);
  CHECK(gap(read<Be>(be, r), expected.r) < 1e4 * epsilon<Be>);
  CHECK(gap(read<Be>(be, y), expected.y) < 1e4 * epsilon<Be>);
}

TEST_CASE_TEMPLATE("columns: a shape that does not fit is refused with both numbers", Be,
                   PREHEAT_ALL_BACKENDS) {
  Be be;
  mat<Be> a = be.zeros(4, 3);
  mat<Be> b = be.zeros(4, 2);
  mat<Be> per_row = be.zeros(4, 1);
  mat<Be> per_col = be.zeros(3, 1);
  mat<Be> nothing = be.zeros(0, 3);
  CHECK_THROWS_WITH_AS(be.softmax_cols_gradient(a, b),
                       "preheat: softmax_cols_gradient: columns agree (3, 2)", invalid_argument);
  CHECK_THROWS_WITH_AS(be.layer_norm(1, per_row, per_row, a, per_col, b),
                       "preheat: layer_norm: columns agree (3, 2)", invalid_argument);
  CHECK_THROWS_WITH_AS(be.layer_norm(1, per_row, per_col, a, per_col, a),
                       "preheat: layer_norm: gamma and beta have one entry per row (3, 4)",
                       invalid_argument);
  CHECK_THROWS_WITH_AS(be.layer_norm(1, per_row, per_row, a, per_row, a),
                       "preheat: layer_norm: one deviation per column (4, 3)", invalid_argument);
  CHECK_THROWS_WITH_AS(be.layer_norm(1, nothing, nothing, nothing, per_col, nothing),
                       "preheat: layer_norm: a column has at least one entry (0, 1)",
                       invalid_argument);
  CHECK_THROWS_WITH_AS(be.layer_norm_gradient(per_row, a, per_row, a),
                       "preheat: layer_norm_gradient: one deviation per column (4, 3)",
                       invalid_argument);
}
