// NF4 against a second implementation and against the quantiles that define it; LoftQ: what is lost
// to quantization falls or stays with every iteration and is below plain quantization's.
#include <limits>
#include <preheat/init/loftq.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// The published levels to four digits.
constexpr double printed[] = {-1,     -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0,
                              0.0796, 0.1609,  0.2461,  0.3379,  0.4407,  0.5626,  0.7230,  1};

// The x with Φ(x) = p, by bisection.
double normal_quantile(double p) {
  double low = -10;
  double high = 10;
  for (int i = 0; i < 200; ++i) {
    const double x = (low + high) / 2;
    (std::erfc(-x / std::sqrt(2.0)) / 2 < p ? low : high) = x;
  }
  return low;
}

// NF4 by another way: rows one after the other in one long list, every level tried.
table reference_nf4(const table& w, index_t block) {
  std::vector<double> flat;
  for (index_t i = 0; i < w.rows; ++i) {
    for (index_t j = 0; j < w.cols; ++j) {
      flat.push_back(w(i, j));
    }
  }
  for (std::size_t k = 0; k < flat.size();) {
    const std::size_t end = std::min(flat.size(), k + std::size_t(block));
    double scale = 0;
    for (std::size_t e = k; e < end; ++e) {
      scale = std::max(scale, std::abs(flat[e]));
    }
    for (; k < end; ++k) {
      double best = 0;
      for (const double level : linalg::nf4_levels) {
        if (std::abs(scale * level - flat[k]) < std::abs(best - flat[k])) {
          best = scale * level;
        }
      }
      flat[k] = best;
    }
  }
  table q(w.rows, w.cols);
  for (index_t i = 0; i < w.rows; ++i) {
    for (index_t j = 0; j < w.cols; ++j) {
      q(i, j) = flat[i * w.cols + j];
    }
  }
  return q;
}

template <class Be>
target_layer<Be> target_layer_of(const mat<Be>& W, index_t rank, double scaling = 2) {
  return {.W = W, .rank = rank, .scaling = scalar_of<Be>(scaling)};
}

// W − Q − s·B·A
template <class Be>
table lost(Be& be, const table& w, const replacement<Be>& answer, double s) {
  return w - read<Be>(be, answer.W) - s * read<Be>(be, answer.f.B) * read<Be>(be, answer.f.A);
}

}  // namespace

TEST_CASE("nf4: its levels are the published ones and the quantiles of a normal distribution") {
  REQUIRE(std::size(linalg::nf4_levels) == 16);
  for (std::size_t k = 0; k < 16; ++k) {
    CHECK(std::abs(linalg::nf4_levels[k] - printed[k]) <= 0.5001e-4);
    CHECK(linalg::nf4_level(linalg::nf4_levels[k]) == linalg::nf4_levels[k]);
  }
  // Eight equal steps of probability above zero and seven below; the ends, the mean of half a step
  // of fifteen and half a step of sixteen away from certainty, become ±1.
  const double end = 1 - (1.0 / 30 + 1.0 / 32) / 2;
  const double largest = normal_quantile(end);
  for (int k = 0; k <= 8; ++k) {
    const double level = normal_quantile(0.5 + (end - 0.5) * k / 8) / largest;
    CHECK(std::abs(linalg::nf4_levels[7 + k] - level) < 1e-6);
  }
  for (int k = 0; k <= 7; ++k) {
    const double level = -normal_quantile(0.5 + (end - 0.5) * k / 7) / largest;
    CHECK(std::abs(linalg::nf4_levels[7 - k] - level) < 1e-6);
  }
  CHECK(linalg::nf4_level((linalg::nf4_levels[3] + linalg::nf4_levels[4]) / 2) ==
        linalg::nf4_levels[3]);
  CHECK(linalg::nf4_level(5) == 1);
  CHECK(linalg::nf4_level(-5) == -1);
}

// Shapes in which blocks cross rows, the last is short, a row holds several, or there is but one.
TEST_CASE_TEMPLATE("nf4: rounds to the nearest level of its block, rows first", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const std::vector<std::pair<index_t, index_t>> shapes{{20, 30}, {3, 200}, {150, 1}, {4, 5}};
  for (const auto& [m, n] : shapes) {
    for (const index_t block : {64, 7}) {
      const mat<Be> W = matrix(be, random_table(m, n, 700));
      const table w = read<Be>(be, W);
      const mat<Be> Q = linalg::nf4_rounded<Be>(be, W, block);
      CHECK(gap(read<Be>(be, Q), reference_nf4(w, block)) < tolerance<Be>(1));
      CHECK(same(read<Be>(be, linalg::nf4_rounded<Be>(be, Q, block)), read<Be>(be, Q)));
      CHECK_FALSE(same(read<Be>(be, Q), w));
      CHECK(same(read<Be>(be, W), w));
      // A power of two only moves the exponents.
      const mat<Be> twice = matrix(be, 2.0 * w);
      CHECK(same(read<Be>(be, linalg::nf4_rounded<Be>(be, twice, block)), 2.0 * read<Be>(be, Q)));
    }
  }
  const mat<Be> W = matrix(be, random_table(20, 30, 701));
  const mat<Be> by_default = linalg::nf4_rounded<Be>(be, W);
  CHECK(same(read<Be>(be, by_default), read<Be>(be, linalg::nf4_rounded<Be>(be, W, 64))));
}

TEST_CASE_TEMPLATE("nf4: zeros, single entries and what is refused", Be, PREHEAT_BACKENDS) {
  Be be;
  table w = random_table(3, 64, 702);
  for (index_t j = 0; j < 64; ++j) {
    w(1, j) = 0;
  }
  const table q = read<Be>(be, linalg::nf4_rounded<Be>(be, matrix(be, w)));
  for (index_t j = 0; j < 64; ++j) {
    CHECK(q(1, j) == 0);
  }
  CHECK(largest(q) > 0);
  CHECK(largest(read<Be>(be, linalg::nf4_rounded<Be>(be, be.zeros(5, 9)))) == 0);
  // A block of one entry is its own scale.
  const mat<Be> W = matrix(be, w);
  CHECK(same(read<Be>(be, linalg::nf4_rounded<Be>(be, W, 1)), read<Be>(be, W)));
  CHECK_THROWS_AS(linalg::nf4_rounded<Be>(be, W, 0), invalid_argument);
  w(2, 2) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(linalg::nf4_rounded<Be>(be, matrix(be, w)), invalid_argument);
}

TEST_CASE_TEMPLATE("loftq: one iteration is NF4 and the best part of what it loses", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  for (const auto& [m, n] : {std::pair<index_t, index_t>{20, 30}, {30, 20}}) {
    const mat<Be> W = matrix(be, random_table(m, n, 710));
    const table w = read<Be>(be, W);
    const table q = read<Be>(be, linalg::nf4_rounded<Be>(be, W));
    const table sigma = read<Be>(be, be.svd(matrix(be, w - q)).S);
    for (const index_t r : {1, 5, 20}) {
      for (const double s : {2.0, 0.5}) {
        const replacement<Be> answer = init::loftq{}(be, target_layer_of<Be>(W, r, s));
        CHECK(same(read<Be>(be, answer.W), q));
        const std::vector<double>& S = sigma.values;
        double rest = 0;
        for (std::size_t i = std::size_t(r); i < S.size(); ++i) {
          rest += S[i] * S[i];
        }
        CHECK(std::abs(square_norm(lost(be, w, answer, s)) - rest) < tolerance<Be>(20));
        // √(S/s) on either side.
        const table a = read<Be>(be, answer.f.A);
        const table b = read<Be>(be, answer.f.B);
        std::vector<double> even(S.begin(), S.begin() + r);
        for (double& x : even) {
          x /= s;
        }
        CHECK(gap(a * transposed(a), diagonal(even)) < tolerance<Be>(8));
        CHECK(gap(transposed(b) * b, diagonal(even)) < tolerance<Be>(8));

        // PEFT's form is that of s = 1, at any s.
        const replacement<Be> peft =
            init::loftq{.ignore_scaling = true}(be, target_layer_of<Be>(W, r, s));
        CHECK(gap(read<Be>(be, peft.f.A), std::sqrt(s) * a) < tolerance<Be>(8));
        CHECK(std::abs(square_norm(lost(be, w, peft, 1)) - rest) < tolerance<Be>(20));
      }
    }
  }
}

TEST_CASE_TEMPLATE("loftq: the loss falls or stays with iterations and is below quantization's", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const double s = 2;
  for (const std::uint64_t seed : {720, 721, 722}) {
    const mat<Be> W = matrix(be, random_table(20, 30, seed));
    const table w = read<Be>(be, W);
    const double plain = square_norm(w - read<Be>(be, linalg::nf4_rounded<Be>(be, W)));
    for (const index_t r : {2, 5, 12}) {
      double before = plain;
      for (const index_t count : {1, 2, 3, 5, 8}) {
        const init::loftq init{.iterations = count};
        const replacement<Be> answer = init(be, target_layer_of<Be>(W, r, s));
        const double now = square_norm(lost(be, w, answer, s));
        CHECK((count == 1 ? now < 0.9 * before : now <= before * (1 + tolerance<Be>(1))));
        before = now;
        // What W becomes is a matrix that NF4 holds.
        CHECK(same(read<Be>(be, linalg::nf4_rounded<Be>(be, answer.W)), read<Be>(be, answer.W)));
      }
      const replacement<Be> one = init::loftq{}(be, target_layer_of<Be>(W, r, s));
      CHECK(before < square_norm(lost(be, w, one, s)) * (r == 2 ? 0.98 : 1.0 + tolerance<Be>(1)));
    }
  }
}

// The alternation itself: the second Q is the rounding of W without the first s·B·A.
TEST_CASE_TEMPLATE("loftq: each iteration quantizes what the factors leave", Be, PREHEAT_BACKENDS) {
  using T = scalar_of<Be>;
  Be be;
  const mat<Be> W = matrix(be, random_table(20, 30, 730));
  for (const bool peft : {false, true}) {
    const init::loftq one{.ignore_scaling = peft};
    const init::loftq two{.iterations = 2, .ignore_scaling = peft, .keep_best = false};
    const replacement<Be> first = one(be, target_layer_of<Be>(W, 4));
    const replacement<Be> second = two(be, target_layer_of<Be>(W, 4));
    mat<Be> target = clone<Be>(be, W);
    be.gemm(T(peft ? -1 : -2), transpose::no, first.f.B, transpose::no, first.f.A, 1, target);
    CHECK(same(read<Be>(be, second.W), read<Be>(be, linalg::nf4_rounded<Be>(be, target))));
    CHECK_FALSE(same(read<Be>(be, second.W), read<Be>(be, first.W)));
  }
}

TEST_CASE_TEMPLATE("loftq: degenerate weights and what is refused", Be, PREHEAT_BACKENDS) {
  Be be;
  const init::loftq three{.iterations = 3};
  const mat<Be> zero = be.zeros(6, 9);
  const replacement<Be> nothing = three(be, target_layer_of<Be>(zero, 2));
  CHECK(largest(read<Be>(be, nothing.W)) == 0);
  CHECK(largest(read<Be>(be, nothing.f.A)) == 0);
  CHECK(largest(read<Be>(be, nothing.f.B)) == 0);
  const mat<Be> held = linalg::nf4_rounded<Be>(be, matrix(be, random_table(6, 9, 740)));
  CHECK(same(read<Be>(be, three(be, target_layer_of<Be>(held, 2)).W), read<Be>(be, held)));
  CHECK_THROWS_AS(init::loftq{.iterations = 0}(be, target_layer_of<Be>(held, 2)), invalid_argument);
  CHECK_THROWS_AS(three(be, target_layer_of<Be>(held, 7)), invalid_argument);
  CHECK_THROWS_AS(three(be, target_layer_of<Be>(held, 0)), invalid_argument);
  CHECK_THROWS_AS(three(be, target_layer_of<Be>(held, 2, 0)), invalid_argument);
  table w = random_table(6, 9, 741);
  w(0, 3) = std::numeric_limits<double>::infinity();
  const mat<Be> bad = matrix(be, w);
  CHECK_THROWS_AS(three(be, target_layer_of<Be>(bad, 2)), invalid_argument);
}

TEST_CASE_TEMPLATE("loftq: a run trains on the quantized base and starts near the old one", Be,
                   PREHEAT_BACKENDS) {
  using quantized = method<init::loftq>;
  toy_task<Be> p;
  const std::vector<table> before = p.weights();
  quantized m{.init = {.iterations = 3}};
  m.optim.lr = 0;
  const auto report = fit(m, p.net, p.data, {.rank = 3, .steps = 1});
  CHECK(report.base_changed);
  CHECK_FALSE(quantized::leaves_base);
  merge(p.net, report);
  const std::vector<table> merged = p.weights();
  toy_task<Be> rounded;
  for (std::size_t l = 0; l < 3; ++l) {
    const mat<Be> Q = linalg::nf4_rounded<Be>(rounded.be, rounded.net.layers()[l].W);
    const double plain = square_norm(read<Be>(rounded.be, Q) - before[2 * l]);
    CHECK(square_norm(merged[2 * l] - before[2 * l]) < 0.8 * plain);
    CHECK(same(merged[2 * l + 1], before[2 * l + 1]));  // the bias
  }
  toy_task<Be> q;
  m.optim.lr = 1e-2;
  const double loss = q.base_loss();
  const auto trained = fit(m, q.net, q.data, {.rank = 3, .steps = 60});
  auto linear = attach(q.net, trained);
  CHECK(double(q.net.loss(q.all, linear)) < 0.9 * loss);
}
