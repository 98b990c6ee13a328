// Kernels in which several threads work on one column or row, at lengths around the sizes of their groups; columns
// gathered by number; products of grids of blocks; elementwise passes over matrices with gaps. Against
// plain loops.
#include <array>
#include <cmath>
#include <preheat/cuda/backend.hpp>
#include <preheat/linalg/random_matrix.hpp>
#include <preheat/nn/attention.hpp>
#include <string>
#include <utility>
#include <vector>

#include "support/backends.hpp"
#include "support/block_in_frame.hpp"

using namespace conformance;
using namespace preheat;

namespace {

static_assert(nn::gathers_columns<cuda_float> && nn::multiplies_grids<cuda_double>);

// Below, at and above a warp, a block, and the length from which a block is used.
constexpr index_t lengths[] = {1, 2, 31, 32, 33, 255, 256, 257, 1023, 1024, 1025, 3001};

template <class Be>
constexpr double bound = 100 * epsilon<Be>;  // of numbers of size 1

table map(const table& a, double (*f)(double)) {
  table t = a;
  for (double& x : t.values) {
    x = f(x);
  }
  return t;
}
// Sums of the columns, 1×n.
table column_sums(const table& a) {
  return table(1, a.rows, 1) * a;
}
table times(table a, const table& b) {
  for (std::size_t k = 0; k < a.values.size(); ++k) {
    a.values[k] *= b.values[k];
  }
  return a;
}
table softmax(const table& x) {
  const table e = map(x, [](double v) { return std::exp(v); });
  const table sums = column_sums(e);
  table p = e;
  for (index_t j = 0; j < x.cols; ++j) {
    for (index_t i = 0; i < x.rows; ++i) {
      p(i, j) /= sums(0, j);
    }
  }
  return p;
}
// C, dQ, dK and dV of attention over sequences of several lengths, with dropout.
template <class Be>
std::vector<table> attention_results() {
  Be be;
  const std::vector<index_t> sequences{3, 3, 5, 2, 2, 2, 1};
  const index_t heads = 2;
  const auto random = [&](std::uint64_t seed) { return matrix(be, random_table(6, 18, seed)); };
  const mat<Be> Q = random(21);
  const mat<Be> K = random(22);
  const mat<Be> V = random(23);
  const mat<Be> dC = random(24);
  const nn::dropout_stream site{0.25, generator(25)};
  nn::attention<Be> attention;
  nn::attention_scratch<Be> scratch;
  std::vector<table> all{
      read<Be>(be, attention.forward(be, heads, sequences, Q, K, V, site, scratch))};
  attention.backward(be, sequences, dC, {}, site, scratch);
  const std::array<view_of<Be>, 3> gradients{scratch.dQ, scratch.dK, scratch.dV};
  for (const view_of<Be>& gradient : gradients) {
    all.push_back(read<Be>(be, gradient));
  }
  all.push_back(read<Be>(be, attention.probabilities(6, 5, 1)));
  return all;
}
// A block of `t` as the scalar of the backend rounds it.
template <class Be>
table rounded(const table& t) {
  table r = t;
  for (double& x : r.values) {
    x = double(scalar_of<Be>(x));
  }
  return r;
}

template <class T>
struct its_number {
  constexpr void operator()(index_t k, T& x) const { x = T(k); }
};

}  // namespace

TEST_CASE_TEMPLATE("cuda columns: softmax and its gradient at every length", Be, cuda_float,
                   cuda_double) {
  Be be;
  for (const index_t rows : lengths) {
    CAPTURE(rows);
    const table x = rounded<Be>(2.0 * random_table(rows, 5, 1));
    const table w = rounded<Be>(random_table(rows, 5, 2));
    const table p = softmax(x);
    block_in_frame<Be> P(be, x);
    be.softmax_cols(P.block());
    CHECK(gap(P.read_block(be), p) < bound<Be>);
    block_in_frame<Be> D(be, w);
    be.softmax_cols_gradient(P.block(), D.block());
    const table mean = column_sums(times(p, w));
    table want = times(p, w);
    for (index_t j = 0; j < 5; ++j) {
      for (index_t i = 0; i < rows; ++i) {
        want(i, j) -= p(i, j) * mean(0, j);
      }
    }
    CHECK(gap(D.read_block(be), want) < bound<Be>);
    CHECK(P.intact(be));
    CHECK(D.intact(be));
  }
}

TEST_CASE_TEMPLATE("cuda columns: layer norm and its gradient at every length", Be, cuda_float,
                   cuda_double) {
  using T = scalar_of<Be>;
  Be be;
  for (const index_t rows : lengths) {
    CAPTURE(rows);
    const table x = rounded<Be>(random_table(rows, 3, 3));
    const table gamma = rounded<Be>(random_table(rows, 1, 4));
    const table beta = rounded<Be>(random_table(rows, 1, 5));
    const table w = rounded<Be>(random_table(rows, 3, 6));
    const double epsilon_of_norm = 0.125;
    table normalized = x;
    table y = x;
    table r(3, 1);
    table gradient = w;
    for (index_t j = 0; j < 3; ++j) {
      const double mean = column_sums(columns(x, j, 1))(0, 0) / double(rows);
      const table moved = columns(x, j, 1) - table(rows, 1, mean);
      r(j, 0) = 1 / std::sqrt(square_norm(moved) / double(rows) + epsilon_of_norm);
      const table hat = r(j, 0) * moved;
      const table g = times(gamma, columns(w, j, 1));
      const double mean_of_g = column_sums(g)(0, 0) / double(rows);
      const double slope = dot(g, hat) / double(rows);
      for (index_t i = 0; i < rows; ++i) {
        normalized(i, j) = hat(i, 0);
        y(i, j) = gamma(i, 0) * hat(i, 0) + beta(i, 0);
        gradient(i, j) = r(j, 0) * (g(i, 0) - mean_of_g - hat(i, 0) * slope);
      }
    }
    block_in_frame<Be> X(be, x);
    block_in_frame<Be> Y(be, table(rows, 3));
    mat<Be> R = be.zeros(3, 1);
    const mat<Be> Gamma = matrix(be, gamma);
    be.layer_norm(T(epsilon_of_norm), Gamma, matrix(be, beta), X.block(), R, Y.block());
    CHECK(gap(X.read_block(be), normalized) < 10 * bound<Be>);
    CHECK(gap(Y.read_block(be), y) < 40 * bound<Be>);
    CHECK(gap(read<Be>(be, R), r) < 10 * bound<Be>);
    block_in_frame<Be> D(be, w);
    be.layer_norm_gradient(Gamma, X.block(), R, D.block());
    CHECK(gap(D.read_block(be), gradient) < 60 * bound<Be>);
    CHECK(X.intact(be));
    CHECK(Y.intact(be));
    CHECK(D.intact(be));
  }
}

TEST_CASE_TEMPLATE("cuda columns: causal softmax at every length", Be, cuda_float, cuda_double) {
  Be be;
  const index_t cols = 5;
  for (const index_t rows : {5, 31, 33, 1024, 1500}) {
    for (const index_t window : {index_t(1), index_t(3), rows}) {
      CAPTURE(rows);
      CAPTURE(window);
      const index_t shift = rows - cols;
      table x = rounded<Be>(2.0 * random_table(rows, cols, 16));
      table want(rows, cols);
      for (index_t j = 0; j < cols; ++j) {
        const index_t end = j + shift + 1;
        const index_t begin = std::max<index_t>(end - window, 0);
        for (index_t i = 0; i < rows; ++i) {
          x(i, j) = i < begin || i >= end ? 5000 : x(i, j);  // what is not seen does not count
        }
        double sum = 0;
        for (index_t i = begin; i < end; ++i) {
          sum += std::exp(x(i, j));
        }
        for (index_t i = begin; i < end; ++i) {
          want(i, j) = std::exp(x(i, j)) / sum;
        }
      }
      block_in_frame<Be> X(be, x);
      be.softmax_cols_causal(shift, window, X.block());
      CHECK(gap(X.read_block(be), want) < bound<Be>);
      CHECK(X.intact(be));
    }
  }
}

TEST_CASE_TEMPLATE("cuda columns: RMS norm and its gradient at every length", Be, cuda_float,
                   cuda_double) {
  using T = scalar_of<Be>;
  Be be;
  for (const index_t rows : lengths) {
    CAPTURE(rows);
    const table x = rounded<Be>(random_table(rows, 3, 17));
    const table gamma = rounded<Be>(random_table(rows, 1, 18));
    const table d = rounded<Be>(random_table(rows, 3, 19));
    table y = x;
    table r(3, 1);
    table gradient(rows, 3, 2);  // what is there already
    for (index_t j = 0; j < 3; ++j) {
      const table column = columns(x, j, 1);
      const table g = times(gamma, columns(d, j, 1));
      r(j, 0) = 1 / std::sqrt(square_norm(column) / double(rows) + 0.125);
      const double slope = r(j, 0) * r(j, 0) * dot(g, column) / double(rows);
      for (index_t i = 0; i < rows; ++i) {
        y(i, j) = gamma(i, 0) * r(j, 0) * x(i, j);
        gradient(i, j) += r(j, 0) * (g(i, 0) - x(i, j) * slope);
      }
    }
    block_in_frame<Be> X(be, x);
    block_in_frame<Be> Y(be, table(rows, 3));
    mat<Be> R = be.zeros(3, 1);
    const mat<Be> Gamma = matrix(be, gamma);
    be.rms_norm(T(0.125), Gamma, X.block(), R, Y.block());
    CHECK(gap(Y.read_block(be), y) < 40 * bound<Be>);
    CHECK(gap(read<Be>(be, R), r) < 10 * bound<Be>);
    CHECK(Y.intact(be));
    const table a = rounded<Be>(random_table(rows, 3, 20));
    block_in_frame<Be> sum(be, rounded<Be>(x - a));  // to which a is added: nearly x
    be.add_rms_norm(T(0.125), Gamma, matrix(be, a), sum.block(), R, Y.block());
    CHECK(gap(sum.read_block(be), x) < 2 * bound<Be>);
    CHECK(gap(Y.read_block(be), y) < 60 * bound<Be>);
    CHECK(gap(read<Be>(be, R), r) < 20 * bound<Be>);
    CHECK((Y.intact(be) && sum.intact(be)));
    block_in_frame<Be> dX(be, table(rows, 3, 2));
    be.rms_norm_gradient(Gamma, X.block(), R, matrix(be, d), dX.block());
    CHECK(gap(dX.read_block(be), gradient) < 60 * bound<Be>);
    CHECK(dX.intact(be));
    block_in_frame<Be> again(be, table(rows, 3));
    block_in_frame<Be> same_dX(be, table(rows, 3, 2));
    be.rms_norm(T(0.125), Gamma, X.block(), R, Y.block());
    be.rms_norm_gradient(Gamma, X.block(), R, matrix(be, d), same_dX.block(), again.block());
    CHECK(gap(same_dX.read_block(be), gradient) < 60 * bound<Be>);
    CHECK(same(again.read_block(be), Y.read_block(be)));
    CHECK(again.intact(be));
  }
}

TEST_CASE_TEMPLATE("cuda columns: the loss of a classifier with any number of classes", Be,
                   cuda_float, cuda_double) {
  Be be;
  for (const index_t classes : lengths) {
    CAPTURE(classes);
    const index_t tokens = 7;
    const table z = rounded<Be>(3.0 * random_table(classes, tokens, 7));
    table labels(1, tokens);
    for (index_t j = 0; j < tokens; ++j) {
      labels(0, j) = double((j * 811) % classes);
    }
    table want = (1 / double(tokens)) * softmax(z);
    double loss = 0;
    for (index_t j = 0; j < tokens; ++j) {
      loss -= std::log(double(tokens) * want(index_t(labels(0, j)), j)) / double(tokens);
      want(index_t(labels(0, j)), j) -= 1 / double(tokens);
    }
    mat<Be> d = be.zeros(classes, tokens);
    const mat<Be> Z = matrix(be, z);
    const mat<Be> L = matrix(be, labels);
    CHECK(double(be.softmax_cross_entropy(Z, L, d)) ==
          doctest::Approx(loss).epsilon(10 * bound<Be>).scale(1));
    CHECK(gap(read<Be>(be, d), want) < bound<Be>);
    mat<Be> in_place = matrix(be, z);
    CHECK(double(be.softmax_cross_entropy(in_place, L, in_place)) ==
          doctest::Approx(loss).epsilon(10 * bound<Be>).scale(1));
    CHECK(same(read<Be>(be, in_place), read<Be>(be, d)));
    CHECK_THROWS_WITH_AS(
        be.softmax_cross_entropy(Z, matrix(be, table(1, tokens, -1)), d),
        ("preheat: 0 <= label < classes (-1, " + std::to_string(classes) + ")").c_str(),
        invalid_argument);
  }
}

TEST_CASE_TEMPLATE("cuda columns: softmax and loss of numbers whose exp would overflow", Be,
                   cuda_float, cuda_double) {
  Be be;
  // Every class but one loses by 5000 or more, which no exp tells from 0.
  for (const index_t classes : {index_t(2), index_t(5), index_t(40), index_t(1500)}) {
    CAPTURE(classes);
    table z(classes, 3);
    table hot(classes, 3);  // the softmax
    table want(classes, 3);
    table labels(1, 3);
    for (index_t j = 0; j < 3; ++j) {
      for (index_t i = 0; i < classes; ++i) {
        z(i, j) = -1000 * double((i * 3 + j) % 7);
      }
      // The winner is in another place of every column, and the label of column 1 is the last class.
      const index_t winner = j * (classes - 1) / 2;
      z(winner, j) = 5000;
      hot(winner, j) = 1;
      want(winner, j) += 0.5;
      labels(0, j) = j == 1 ? double(classes - 1) : double(winner);
      want(index_t(labels(0, j)), j) -= 0.5;
    }
    const double lost = 0.5 * (5000 - z(index_t(labels(0, 1)), 1));
    mat<Be> d = be.zeros(classes, 3);
    auto total = be.zeros(1, 1);
    mat<Be> Z = matrix(be, z);
    be.softmax_cols(Z);
    CHECK(gap(read<Be>(be, Z), hot) == 0);
    if (classes > 3) {  // every column sees its winner
      Z = matrix(be, z);
      be.softmax_cols_causal(classes - 3, classes, Z);
      CHECK(gap(read<Be>(be, Z), hot) == 0);
    }
    Z = matrix(be, z);
    be.add_softmax_cross_entropy(scalar_of<Be>(0.5), Z, matrix(be, labels), total);
    CHECK(gap(read<Be>(be, Z), want) == 0);
    CHECK(read<Be>(be, total)(0, 0) == lost);
  }
}

TEST_CASE_TEMPLATE("cuda columns: softmax and loss of numbers whose exp is zero", Be, cuda_float,
                   cuda_double) {
  Be be;
  for (const index_t classes : {index_t(1), index_t(5), index_t(13), index_t(1501)}) {
    CAPTURE(classes);
    table z(classes, 3);  // eighths, so that a float has them 1000 lower, too
    for (std::size_t k = 0; k < z.values.size(); ++k) {
      z.values[k] = double(k * k % 31) / 8;
    }
    table labels(1, 3);
    labels(0, 1) = double(classes - 1);
    const table lower = z - table(classes, 3, 1000);
    const auto softmax = [&](const table& from) {
      mat<Be> Z = matrix(be, from);
      be.softmax_cols(Z);
      return read<Be>(be, Z);
    };
    CHECK(gap(softmax(lower), softmax(z)) < bound<Be>);
    const auto loss = [&](const table& from) {
      mat<Be> Z = matrix(be, from);
      auto total = be.zeros(1, 1);
      be.add_softmax_cross_entropy(scalar_of<Be>(1), Z, matrix(be, labels), total);
      return std::pair{read<Be>(be, Z), read<Be>(be, total)(0, 0)};
    };
    CHECK(gap(loss(lower).first, loss(z).first) < bound<Be>);
    CHECK(std::abs(loss(lower).second - loss(z).second) < 1000 * bound<Be>);
  }
}

TEST_CASE_TEMPLATE("cuda columns: sums over rows of any number of columns", Be, cuda_float,
                   cuda_double) {
  Be be;
  for (const index_t cols : lengths) {
    CAPTURE(cols);
    const table a = rounded<Be>(random_table(37, cols, 8));
    const table b = rounded<Be>(random_table(37, cols, 9));
    const table ones(cols, 1, 1);
    block_in_frame<Be> A(be, a);
    block_in_frame<Be> B(be, b);
    mat<Be> x = matrix(be, table(37, 1, 2));
    be.add_row_sums(3, A.block(), x);
    const double size = std::sqrt(double(cols));
    CHECK(gap(read<Be>(be, x), table(37, 1, 2) + 3.0 * (a * ones)) < size * bound<Be>);
    mat<Be> y = matrix(be, table(37, 1, 2));
    be.add_row_dots(-2, A.block(), B.block(), y);
    CHECK(gap(read<Be>(be, y), table(37, 1, 2) - 2.0 * (times(a, b) * ones)) < size * bound<Be>);
  }
}

TEST_CASE_TEMPLATE("cuda columns: gathered by their numbers", Be, cuda_float, cuda_double) {
  Be be;
  for (const index_t rows : {index_t(1), index_t(40), index_t(1500)}) {
    const table t = rounded<Be>(random_table(rows, 9, 10));
    const std::vector<index_t> ids{8, 0, 3, 3, 7, 1};
    table want(rows, 6);
    for (index_t j = 0; j < 6; ++j) {
      for (index_t i = 0; i < rows; ++i) {
        want(i, j) = t(i, ids[std::size_t(j)]);
      }
    }
    block_in_frame<Be> from(be, t);
    block_in_frame<Be> x(be, table(rows, 6));
    std::vector<index_t> passing = ids;
    be.gather_cols(from.block(), passing, x.block());
    passing.assign(6, 2);  // the caller's again: the device must have read them
    CHECK(same(x.read_block(be), want));
    CHECK(x.intact(be));
    for (const index_t wrong : {index_t(-1), index_t(9)}) {
      const std::vector<index_t> others{0, 1, 2, 3, 4, wrong};
      CHECK_THROWS_AS(be.gather_cols(from.block(), others, x.block()), invalid_argument);
    }
    CHECK_THROWS_AS(be.gather_cols(from.block(), std::vector<index_t>{1}, x.block()),
                    invalid_argument);
    CHECK_THROWS_AS(be.gather_cols(be.zeros(rows + 1, 9), ids, x.block()), invalid_argument);
  }
  be.gather_cols(be.zeros(3, 2), std::vector<index_t>{}, be.zeros(3, 0));
  // More numbers than a launch can carry.
  const index_t many = 10000;
  const table t = rounded<Be>(random_table(3, 9, 10));
  std::vector<index_t> passing;
  table want(3, many);
  for (index_t j = 0; j < many; ++j) {
    passing.push_back(j * 7 % 9);
    for (index_t i = 0; i < 3; ++i) {
      want(i, j) = t(i, passing.back());
    }
  }
  mat<Be> x = be.zeros(3, many);
  be.gather_cols(matrix(be, t), passing, x);
  passing.assign(std::size_t(many), 2);
  CHECK(same(read<Be>(be, x), want));
}

TEST_CASE_TEMPLATE("cuda columns: products of grids of blocks", Be, cuda_float, cuda_double) {
  Be be;
  const index_t n = 4;
  const index_t d = 3;
  const grid_steps heads{2, 3, d, 0, n};      // below each other, then side by side
  const grid_steps pairs{2, 3, 0, n, 2 * n};  // all side by side
  const table q = rounded<Be>(random_table(2 * d, 3 * n, 11));
  const table k = rounded<Be>(random_table(2 * d, 3 * n, 12));
  const table old = rounded<Be>(random_table(n, 6 * n, 13));
  block_in_frame<Be> Q(be, q);
  block_in_frame<Be> K(be, k);
  const auto block_of = [](const table& t, index_t i, index_t j, index_t rows, index_t cols) {
    table b(rows, cols);
    for (index_t c = 0; c < cols; ++c) {
      for (index_t r = 0; r < rows; ++r) {
        b(r, c) = t(i + r, j + c);
      }
    }
    return b;
  };
  const auto features = [&](view<const scalar_of<Be>> x) { return grid_of(x, d, n, heads); };
  block_in_frame<Be> P(be, old);
  be.gemm_grid(2, transpose::yes, features(K.block()), transpose::no, features(Q.block()), -1,
               grid_of(P.block(), n, n, pairs));
  block_in_frame<Be> C(be, table(2 * d, 3 * n));
  be.gemm_grid(1, transpose::no, features(Q.block()), transpose::yes,
               grid_of(view<const scalar_of<Be>>(P.block()), n, n, pairs), 0,
               grid_of(C.block(), d, n, heads));
  const table p = P.read_block(be);
  const table c = C.read_block(be);
  for (index_t s = 0; s < 3; ++s) {
    for (index_t h = 0; h < 2; ++h) {
      const index_t column = (2 * s + h) * n;
      const table q_of = block_of(q, h * d, s * n, d, n);
      const table k_of = block_of(k, h * d, s * n, d, n);
      const table want = 2.0 * (transposed(k_of) * q_of) - block_of(old, 0, column, n, n);
      CHECK(gap(block_of(p, 0, column, n, n), want) < 10 * bound<Be>);
      CHECK(gap(block_of(c, h * d, s * n, d, n), q_of * transposed(block_of(p, 0, column, n, n))) <
            40 * bound<Be>);
    }
  }
  CHECK(P.intact(be));
  CHECK(C.intact(be));
  CHECK_THROWS_AS(grid_of(P.block(), n, n, {2, 4, 0, n, 2 * n}), invalid_argument);
  CHECK_THROWS_AS(grid_of(P.block(), n, n, {0, 3, 0, n, 2 * n}), invalid_argument);
  const auto fewer = grid_of(view<const scalar_of<Be>>(P.block()), n, n, {2, 2, 0, n, 2 * n});
  CHECK_THROWS_AS(be.gemm_grid(1, transpose::no, features(Q.block()), transpose::yes, fewer, 0,
                               grid_of(C.block(), d, n, heads)),
                  invalid_argument);
}

// The CPU computes head by head: the same products, and the same masks of dropout.
TEST_CASE_TEMPLATE("cuda columns: attention of all heads at once, as head by head", Be, cuda_float,
                   cuda_double) {
  const std::vector<table> got = attention_results<Be>();
  const std::vector<table> want = attention_results<eigen_double>();
  for (std::size_t k = 0; k < want.size(); ++k) {
    CAPTURE(k);
    CHECK(gap(got[k], want[k]) < 10 * bound<Be>);
  }
}

TEST_CASE_TEMPLATE("cuda: uniform numbers are drawn on the device, with the bits of the host's", Be,
                   cuda_float, cuda_double) {
  Be be;
  for (const auto& [m, n] : {std::pair<index_t, index_t>{1, 1}, {7, 5}, {150, 3}}) {
    const generator gen(17);
    const table drawn = read<Be>(be, linalg::uniform(be, m, n, 0.3, gen));
    for (index_t k = 0; k < m * n; ++k) {
      const double u = gen.uniforms(std::uint64_t(k / 2))[std::size_t(k % 2)];
      CHECK(drawn(k % m, k / m) == double(scalar_of<Be>((2 * u - 1) * 0.3)));
    }
  }
}

// min(1, bound/(norm + 1e-6)) of all matrices together: of one, of some with gaps, of more than a launch takes.
TEST_CASE_TEMPLATE("cuda: matrices are clipped together", Be, cuda_float, cuda_double) {
  Be be;
  for (const index_t count : {1, 5, 300}) {
    CAPTURE(count);
    std::vector<table> before;
    std::vector<mat<Be>> gradients;
    double square = 0;
    for (index_t k = 0; k < count; ++k) {
      const index_t rows = k == 0 ? 400 : 1 + k % 40;  // the first is in all pieces of its sum
      before.push_back(rounded<Be>(random_table(rows, 7, unsigned(k))));
      gradients.push_back(matrix(be, before.back()));
      square += square_norm(before.back());
    }
    std::vector<view_of<Be>> views(gradients.begin(), gradients.end());
    const double norm = std::sqrt(square);
    be.clip(2 * norm, views);  // which is short enough already
    CHECK(same(read<Be>(be, gradients[0]), before[0]));
    be.clip(0.75 * norm, views);
    for (std::size_t k = 0; k < before.size(); ++k) {
      CHECK(gap(read<Be>(be, gradients[k]), 0.75 * norm / (norm + 1e-6) * before[k]) < bound<Be>);
    }
  }
}

TEST_CASE_TEMPLATE("cuda: elementwise passes over matrices of which some have gaps", Be, cuda_float,
                   cuda_double) {
  using T = scalar_of<Be>;
  Be be;
  for (const index_t rows : {9, 23, 24, 127, 128, 129, 300}) {
    CAPTURE(rows);
    const table a = rounded<Be>(random_table(rows, 7, 14));
    const table b = rounded<Be>(random_table(rows, 7, 15));
    for (const bool first : {false, true}) {
      block_in_frame<Be> framed(be, first ? a : b);
      mat<Be> other = matrix(be, first ? b : a);
      const view_of<Be> x = first ? framed.block() : view_of<Be>(other);
      const view_of<Be> y = first ? view_of<Be>(other) : framed.block();
      be.apply(kernel_archetype<T>{}, x, const_view_of<Be>(y));
      CHECK(same(read<Be>(be, x), rounded<Be>(a + b)));
      CHECK(framed.intact(be));
    }
    // The number of an entry does not count the gaps.
    block_in_frame<Be> numbered(be, table(rows, 7));
    be.apply_indexed(its_number<T>{}, numbered.block());
    table want(rows, 7);
    for (std::size_t k = 0; k < want.values.size(); ++k) {
      want.values[k] = double(k);
    }
    CHECK(same(numbered.read_block(be), want));
    CHECK(numbered.intact(be));
  }
}
