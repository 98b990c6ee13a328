// The parts of a decoder against plain loops: causal softmax, RMS normalization, attention over many
// tiles, rotary positions, activations.
#include <cmath>
#include <preheat/nn/activation.hpp>
#include <preheat/nn/causal_attention.hpp>
#include <preheat/nn/head_norm.hpp>
#include <preheat/nn/rotary.hpp>

#include "support/backends.hpp"
#include "support/block_in_frame.hpp"
#include "support/small_encoder.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr double norm_epsilon = 1e-3;

// The softmax of column j over the rows up to j + shift, `window` at most.
table causal_softmax(const table& x, index_t shift, index_t window) {
  table p(x.rows, x.cols);
  for (index_t j = 0; j < x.cols; ++j) {
    double sum = 0;
    const auto seen = [&](index_t i) { return i <= j + shift && i > j + shift - window; };
    for (index_t i = 0; i < x.rows; ++i) {
      sum += seen(i) ? std::exp(x(i, j)) : 0;
    }
    for (index_t i = 0; i < x.rows; ++i) {
      p(i, j) = seen(i) ? std::exp(x(i, j)) / sum : 0;
    }
  }
  return p;
}
table rms_norm(const table& x, const table& gamma) {
  table y = x;
  for (index_t j = 0; j < x.cols; ++j) {
    double squares = 0;
    for (index_t i = 0; i < x.rows; ++i) {
      squares += x(i, j) * x(i, j) / double(x.rows);
    }
    for (index_t i = 0; i < x.rows; ++i) {
      y(i, j) = gamma(i, 0) * x(i, j) / std::sqrt(squares + norm_epsilon);
    }
  }
  return y;
}
table rows_of_table(const table& x, index_t first, index_t count) {
  return transposed(columns(transposed(x), first, count));
}

struct attention_case {
  nn::attention_shape shape;
  index_t size;                  // of a head
  std::vector<index_t> lengths;  // of the queries
  std::vector<index_t> past;     // keys before each sequence's queries
};
// C for Q, K, V in plain loops, head by head.
table plain_attention(const attention_case& a, const table& Q, const table& K, const table& V) {
  table C(Q.rows, Q.cols);
  index_t query = 0;
  index_t key = 0;
  for (std::size_t s = 0; s < a.lengths.size(); ++s) {
    const index_t n = a.lengths[s];
    const index_t keys = n + a.past[s];
    for (index_t h = 0; h < a.shape.heads; ++h) {
      const index_t g = h / (a.shape.heads / a.shape.key_value_heads);
      const auto part = [&](const table& x, index_t head, index_t first, index_t count) {
        return columns(rows_of_table(x, head * a.size, a.size), first, count);
      };
      const table S = (1 / std::sqrt(double(a.size))) *
                      (transposed(part(K, g, key, keys)) * part(Q, h, query, n));
      const table P = causal_softmax(S, a.past[s], a.shape.window > 0 ? a.shape.window : keys);
      const table O = part(V, g, key, keys) * P;
      for (index_t j = 0; j < n; ++j) {
        for (index_t i = 0; i < a.size; ++i) {
          C(h * a.size + i, query + j) = O(i, j);
        }
      }
    }
    query += n;
    key += keys;
  }
  return C;
}

}  // namespace

TEST_CASE_TEMPLATE("columns: causal softmax", Be, PREHEAT_ALL_BACKENDS) {
  static_assert(nn::decoder_backend<Be>);
  Be be;
  for (const auto& [shift, window] :
       {std::pair<index_t, index_t>{0, 100}, {5, 100}, {5, 1}, {13, 19}, {3, 4}, {0, 2}}) {
    const table x = 3.0 * random_table(19, 6, 1);
    block_in_frame<Be> p(be, x);
    be.softmax_cols_causal(shift, window, p.block());
    CHECK(gap(p.read_block(be), causal_softmax(x, shift, window)) < tolerance<Be>(1));
    CHECK(p.intact(be));
  }
  // Entries that no query sees may be anything.
  mat<Be> x = matrix(be, random_table(3, 3, 2));
  be.fill(std::numeric_limits<typename Be::scalar>::quiet_NaN(), view(x).block(1, 0, 2, 1));
  be.softmax_cols_causal(0, 3, x);
  const table first = columns(read<Be>(be, x), 0, 1);
  CHECK((first(0, 0) == 1 && first(1, 0) == 0 && first(2, 0) == 0));

  mat<Be> small = be.zeros(3, 3);
  CHECK_THROWS_WITH_AS(be.softmax_cols_causal(1, 1, small),
                       "preheat: softmax_cols_causal: columns + shift <= rows (4, 3)",
                       invalid_argument);
  CHECK_THROWS_WITH_AS(be.softmax_cols_causal(0, 0, small),
                       "preheat: softmax_cols_causal: window >= 1 (0, 1)", invalid_argument);
  CHECK_THROWS_WITH_AS(be.softmax_cols_causal(-1, 1, small),
                       "preheat: softmax_cols_causal: shift >= 0 (-1, 0)", invalid_argument);
}

TEST_CASE_TEMPLATE("columns: RMS norm and its gradient, which is added", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  using T = typename Be::scalar;
  const table x_ = 2.0 * random_table(19, 6, 1);
  const table w = random_table(19, 6, 2);
  const table gamma_ = random_table(19, 1, 3);
  const table before = random_table(19, 6, 4);
  const mat<Be> gamma = matrix(be, gamma_);
  block_in_frame<Be> x(be, x_);
  block_in_frame<Be> y(be, table(19, 6));
  block_in_frame<Be> d(be, w);
  block_in_frame<Be> dx(be, before);
  mat<Be> r = be.zeros(6, 1);
  be.rms_norm(T(norm_epsilon), gamma, x.block(), r, y.block());
  CHECK(gap(y.read_block(be), rms_norm(x_, gamma_)) < tolerance<Be>(2));
  CHECK(same(x.read_block(be), read<Be>(be, matrix(be, x_))));
  be.rms_norm_gradient(gamma, x.block(), r, d.block(), dx.block());
  const table expected =
      difference([&](const table& z) { return dot(w, rms_norm(z, gamma_)); }, x_);
  CHECK(gap(dx.read_block(be), before + expected) < std::max(tolerance<Be>(4), 1e-9));
  CHECK((x.intact(be) && y.intact(be) && d.intact(be) && dx.intact(be)));
  mat<Be> other = be.zeros(18, 6);
  CHECK_THROWS_WITH_AS(be.rms_norm(1, gamma, other, r, other),
                       "preheat: rms_norm: gamma and beta have one entry per row (19, 18)",
                       invalid_argument);
}

// One, two and three tiles of queries, with windows that end inside, at and beyond a tile.
TEST_CASE_TEMPLATE("attention of a decoder: many tiles, windows, shared keys, a past", Be,
                   PREHEAT_ALL_BACKENDS) {
  const index_t tile = nn::causal_attention<Be>::tile;
  const std::vector<attention_case> cases = {
      {{4, 2, 0}, 3, {5, 2 * tile + 3, 1}, {0, 0, 0}},
      {{2, 1, 7}, 2, {tile + 1, 3}, {0, 0}},
      {{2, 2, tile}, 2, {2 * tile + 1}, {0}},
      {{2, 2, tile + 5}, 2, {2 * tile + 40}, {0}},
      {{3, 1, 0}, 2, {1, 4}, {tile + 9, 6}},
      {{3, 3, 4}, 2, {1, tile + 2, 6}, {9, 2, 0}},
      {{4, 2, 0}, 3, {9, 9, 9}, {2, 2, 2}},
      {{4, 2, 5}, 2, {tile + 1, tile + 1, 2}, {0, 0, 0}},
  };
  std::uint64_t seed = 0;
  for (const attention_case& a : cases) {
    Be be;
    std::vector<nn::attention_span> spans;
    index_t queries = 0;
    index_t keys = 0;
    for (std::size_t s = 0; s < a.lengths.size(); ++s) {
      spans.push_back({queries, a.lengths[s], keys, a.lengths[s] + a.past[s]});
      queries += a.lengths[s];
      keys += a.lengths[s] + a.past[s];
    }
    const table Q_ = random_table(a.shape.heads * a.size, queries, ++seed);
    const table K_ = random_table(a.shape.key_value_heads * a.size, keys, ++seed);
    const table V_ = random_table(a.shape.key_value_heads * a.size, keys, ++seed);
    const table w = random_table(Q_.rows, queries, ++seed);
    mat<Be> Q = matrix(be, Q_);
    mat<Be> K = matrix(be, K_);
    mat<Be> V = matrix(be, V_);
    const mat<Be> dC = matrix(be, w);
    mat<Be> C = be.zeros(Q_.rows, queries);
    mat<Be> dQ = be.zeros(Q_.rows, queries);
    mat<Be> dK = be.zeros(K_.rows, keys);
    mat<Be> dV = be.zeros(K_.rows, keys);
    nn::causal_attention<Be> attention;
    typename nn::causal_attention<Be>::scratch scratch;
    attention.forward(be, a.shape, spans, Q, K, V, C, scratch);
    CHECK(gap(read<Be>(be, C), plain_attention(a, Q_, K_, V_)) < tolerance<Be>(8));
    attention.backward(be, a.shape, spans, dC, {}, dQ, dK, dV, scratch);

    // Slopes of Σ w⊙C in random directions.
    const auto check_slope = [&](const table& at, const mat<Be>& gradient, auto value) {
      const table v = random_table(at.rows, at.cols, ++seed);
      const double h = 1e-4;
      const double expected = (8 * (value(at + h * v) - value(at + -h * v)) -
                               (value(at + 2 * h * v) - value(at + -2 * h * v))) /
                              (12 * h);
      CHECK(std::abs(dot(read<Be>(be, gradient), v) - expected) <
            std::max(tolerance<Be>(64), 1e-8));
    };
    check_slope(Q_, dQ, [&](const table& x) { return dot(w, plain_attention(a, x, K_, V_)); });
    check_slope(K_, dK, [&](const table& x) { return dot(w, plain_attention(a, Q_, x, V_)); });
    check_slope(V_, dV, [&](const table& x) { return dot(w, plain_attention(a, Q_, K_, x)); });

    const table all_of_dV = read<Be>(be, dV);
    be.fill(7, dQ);
    be.fill(7, dK);
    attention.backward(be, a.shape, spans, dC, {.query = false, .key = false}, dQ, dK, dV, scratch);
    CHECK(same(read<Be>(be, dV), all_of_dV));
    CHECK(same(read<Be>(be, dK), table(dK.rows(), dK.cols(), 7)));
    CHECK(same(read<Be>(be, dQ), table(dQ.rows(), dQ.cols(), 7)));
  }
}

TEST_CASE_TEMPLATE("rotary positions turn pairs of halves, and back", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  const nn::rotary_config config{.theta = 100};
  const index_t size = 6;
  nn::rotary<Be> positions(config, size);
  positions.prepare(be, 300);
  const table x = random_table(2 * size, 5, 1);
  mat<Be> X = matrix(be, x);
  const index_t first = 290;
  positions.forward(be, X, first);
  table y = x;
  for (index_t j = 0; j < x.cols; ++j) {
    for (index_t h = 0; h < 2; ++h) {
      for (index_t i = 0; i < size / 2; ++i) {
        const double angle = double(first + j) * std::pow(100.0, -2.0 * double(i) / double(size));
        const index_t a = h * size + i;
        const index_t b = a + size / 2;
        y(a, j) = x(a, j) * std::cos(angle) - x(b, j) * std::sin(angle);
        y(b, j) = x(b, j) * std::cos(angle) + x(a, j) * std::sin(angle);
      }
    }
  }
  CHECK(gap(read<Be>(be, X), y) < tolerance<Be>(1));
  positions.backward(be, X, first);
  CHECK(gap(read<Be>(be, X), x) < tolerance<Be>(1));

  // Sequences turn as each alone does, after another pass too.
  for (const std::vector<nn::attention_span>& spans :
       {std::vector<nn::attention_span>{{0, 2, 0, 4}, {2, 3, 4, 3}},
        std::vector<nn::attention_span>{{0, 5, 0, 295}}}) {
    positions.prepare(be, spans);
    mat<Be> whole = matrix(be, x);
    mat<Be> alone = matrix(be, x);
    positions.forward(be, whole, spans);
    for (const nn::attention_span& s : spans) {
      positions.forward(be, view(alone).col_range(s.first_query, s.queries), s.past());
    }
    CHECK(gap(read<Be>(be, whole), read<Be>(be, alone)) < tolerance<Be>(1));
    CHECK(gap(read<Be>(be, whole), x) > 0.1);
    positions.backward(be, whole, spans);
    CHECK(gap(read<Be>(be, whole), x) < tolerance<Be>(1));
  }
}

namespace {

template <class Be, class Activation, class F>
void check_activation(F plain) {
  Be be;
  table z_ = 4.0 * random_table(7, 9, 1);
  z_(0, 0) = 0;
  z_(1, 0) = 50;
  z_(2, 0) = -50;
  z_(3, 0) = 1e4;
  z_(4, 0) = -1e4;
  const table u_ = random_table(7, 9, 2);
  const table d_ = random_table(7, 9, 3);
  const mat<Be> z = matrix(be, z_);
  const mat<Be> u = matrix(be, u_);
  mat<Be> h = be.zeros(7, 9);
  mat<Be> gated = be.zeros(7, 9);
  mat<Be> d = matrix(be, d_);
  mat<Be> du = matrix(be, d_);
  mat<Be> dz = be.zeros(7, 9);
  be.apply(nn::activation_kernel<Activation>{}, h, z);
  be.apply(nn::gate_kernel<Activation>{}, gated, z, u);
  be.apply(nn::activation_gradient_kernel<Activation>{}, d, z);
  be.apply(nn::gate_gradient_kernel<Activation>{}, du, dz, z, u);
  const table hs = read<Be>(be, h);
  const table gs = read<Be>(be, gated);
  const table ds = read<Be>(be, d);
  const table dus = read<Be>(be, du);
  const table dzs = read<Be>(be, dz);
  for (std::size_t k = 0; k < z_.values.size(); ++k) {
    const double x = z_.values[k];
    const double step = 1e-4;
    const double slope =
        (8 * (plain(x + step) - plain(x - step)) - (plain(x + 2 * step) - plain(x - 2 * step))) /
        (12 * step);
    const double bound = std::max(tolerance<Be>(1), 1e-7) * std::max(1.0, std::abs(x));
    CHECK(std::abs(hs.values[k] - plain(x)) < bound);
    CHECK(std::abs(gs.values[k] - plain(x) * u_.values[k]) < bound);
    CHECK(std::abs(ds.values[k] - d_.values[k] * slope) < bound);
    CHECK(std::abs(dus.values[k] - d_.values[k] * plain(x)) < bound);
    CHECK(std::abs(dzs.values[k] - d_.values[k] * u_.values[k] * slope) < bound);
  }
}

}  // namespace

TEST_CASE_TEMPLATE("activations, alone and as a gate, and their gradients", Be,
                   PREHEAT_ALL_BACKENDS) {
  check_activation<Be, nn::silu<scalar_of<Be>>>([](double z) { return z / (1 + std::exp(-z)); });
  check_activation<Be, nn::gelu<scalar_of<Be>>>(
      [](double z) { return z * 0.5 * (1 + std::erf(z / std::sqrt(2.0))); });
  check_activation<Be, nn::gelu_tanh<scalar_of<Be>>>([](double z) {
    return 0.5 * z * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (z + 0.044715 * z * z * z)));
  });
}
