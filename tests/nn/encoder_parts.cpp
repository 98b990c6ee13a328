// The parts of an encoder: what each computes, in plain loops, and its backward against differences.
#include <preheat/nn/attention.hpp>
#include <preheat/nn/bert_heads.hpp>
#include <preheat/nn/embedding.hpp>
#include <preheat/operators/adapted.hpp>

#include "support/backends.hpp"
#include "support/small_encoder.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr index_t features = 6;
constexpr index_t heads = 2;
const std::vector<index_t> lengths{3, 1, 4};
constexpr index_t tokens = 8;

// The attention of one head of one sequence in plain loops.
table plain_attention(const table& q, const table& k, const table& v) {
  table c(v.rows, q.cols);
  for (index_t j = 0; j < q.cols; ++j) {
    double sum = 0;
    std::vector<double> p;
    for (index_t i = 0; i < k.cols; ++i) {
      p.push_back(std::exp(dot(columns(k, i, 1), columns(q, j, 1)) / std::sqrt(double(q.rows))));
      sum += p.back();
    }
    for (index_t i = 0; i < k.cols; ++i) {
      for (index_t r = 0; r < v.rows; ++r) {
        c(r, j) += p[i] / sum * v(r, i);
      }
    }
  }
  return c;
}

table row_range(const table& a, index_t first, index_t count) {
  return transposed(columns(transposed(a), first, count));
}

struct qkv {
  table q, k, v;
};
qkv random_qkv() {
  return {2.0 * random_table(features, tokens, 1), random_table(features, tokens, 2),
          random_table(features, tokens, 3)};
}

// The tables of an attention on a backend, with its buffers.
template <class Be>
struct attention_problem {
  explicit attention_problem(Be& backend, double rate = 0)
      : be(backend), site{rate, generator(5)} {}
  table forward(const qkv& x) {
    q = matrix(be, x.q);
    k = matrix(be, x.k);
    v = matrix(be, x.v);
    return read<Be>(be, attention.forward(be, heads, lengths, q, k, v, site, scratch));
  }
  Be& be;
  nn::dropout_stream site;
  nn::attention<Be> attention;
  nn::attention_scratch<Be> scratch;
  mat<Be> q, k, v;
};

template <class Be>
void check_attention_gradient(double rate) {
  Be be;
  attention_problem<Be> problem(be, rate);
  const qkv x = random_qkv();
  const table w = random_table(features, tokens, 4);
  problem.forward(x);
  problem.attention.backward(be, lengths, matrix(be, w), {}, problem.site, problem.scratch);
  const auto check = [&](const_view_of<Be> found, table qkv::*part) {
    const table expected = difference(
        [&](const table& moved) {
          qkv y = x;
          y.*part = moved;
          return dot(w, attention_problem<Be>(be, rate).forward(y));
        },
        x.*part);
    CHECK(gap(read<Be>(be, found), expected) < 1e-9);
  };
  check(problem.scratch.dQ, &qkv::q);
  check(problem.scratch.dK, &qkv::k);
  check(problem.scratch.dV, &qkv::v);
}

}  // namespace

TEST_CASE_TEMPLATE("attention: each head of each sequence is that of the formula", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const qkv x = random_qkv();
  attention_problem<Be> problem(be);
  const table c = problem.forward(x);
  index_t first = 0;
  for (const index_t n : lengths) {
    for (index_t h = 0; h < heads; ++h) {
      const auto part = [&](const table& t) {
        return columns(row_range(t, h * (features / heads), features / heads), first, n);
      };
      CHECK(gap(part(c), plain_attention(part(x.q), part(x.k), part(x.v))) < tolerance<Be>(4));
      const table p = read<Be>(be, problem.attention.probabilities(first, n, h));
      CHECK(gap(table(1, n, 1) * p, table(1, n, 1)) < tolerance<Be>(1));
    }
    first += n;
  }
}

TEST_CASE_TEMPLATE("attention: gradients equal differences", Be, conformance::cpu_double,
                   conformance::archetype_double) {
  check_attention_gradient<Be>(0);
  check_attention_gradient<Be>(0.3);
}

TEST_CASE("attention: dropout zeroes its share and keeps the mean") {
  cpu_double be;
  const qkv x{table(features, tokens), table(features, tokens), table(features, tokens, 1)};
  double sum = 0;
  index_t count = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    attention_problem<cpu_double> problem(be, 0.25);
    problem.site.stream = generator(seed);
    const table c = problem.forward(x);
    sum += dot(c, table(features, tokens, 1));
    count += index_t(c.values.size());
    if (seed == 0) {
      CHECK(gap(c, table(features, tokens, 1)) > 0.1);
    }
  }
  CHECK(sum / double(count) == doctest::Approx(1).epsilon(0.03));
}

TEST_CASE_TEMPLATE("pooling: means, first tokens and columns of length one", Be, PREHEAT_BACKENDS) {
  Be be;
  const table x = random_table(features, tokens, 6);
  const mat<Be> X = matrix(be, x);
  mat<Be> pooled;
  nn::mean_of_tokens<Be>(be, X, lengths, pooled);
  table mean(features, 3);
  table first_tokens(features, 3);
  index_t first = 0;
  for (index_t s = 0; s < 3; ++s) {
    const index_t n = lengths[s];
    const table part = columns(x, first, n) * table(n, 1, 1 / double(n));
    for (index_t i = 0; i < features; ++i) {
      mean(i, s) = part(i, 0);
      first_tokens(i, s) = x(i, first);
    }
    first += n;
  }
  CHECK(gap(read<Be>(be, pooled), mean) < tolerance<Be>(1));

  nn::unit_columns<Be> unit;
  unit.forward(be, pooled);
  const table e = read<Be>(be, pooled);
  for (index_t s = 0; s < 3; ++s) {
    const table direction = columns(mean, s, 1);
    CHECK(gap(columns(e, s, 1), (1 / std::sqrt(square_norm(direction))) * direction) <
          tolerance<Be>(1));
  }
  nn::first_tokens<Be>(be, X, lengths, pooled);
  CHECK(gap(read<Be>(be, pooled), first_tokens) < tolerance<Be>(1));
  // A column of zeros stays one.
  mat<Be> zero = be.zeros(features, 2);
  unit.forward(be, zero);
  CHECK(same(read<Be>(be, zero), table(features, 2)));
}

namespace {

// ∂(Σ w⊙pooled)/∂X of a head, by its backward and by differences.
template <class Be, class Head>
void check_head_gradient(const Head& head) {
  Be be;
  auto net = small_encoder<nn::bert<Be, nn::cls_head>>(be);  // for its pooler.dense
  const index_t pooler = index_t(net.layers().size()) - 1;
  base_operator<Be> linear(net);
  const index_t size = small_config().hidden_size;
  const table x = random_table(size, tokens, 7);
  const table w = random_table(size, 3, 8);
  typename Head::template state<Be> state;
  const auto pooled = [&](const table& moved) {
    linear.begin(pass_kind::training);
    const mat<Be> X = matrix(be, moved);
    return dot(w, read<Be>(be, state.forward(be, head, X, lengths, pooler, linear)));
  };
  const table expected = difference(pooled, x);
  pooled(x);
  mat<Be> d = matrix(be, w);
  mat<Be> dX = be.zeros(size, tokens);
  state.backward(be, head, d, lengths, pooler, linear, true, dX);
  CHECK(gap(read<Be>(be, dX), expected) < 1e-9);
}

}  // namespace

TEST_CASE_TEMPLATE("heads: gradients equal differences", Be, conformance::cpu_double,
                   conformance::archetype_double) {
  check_head_gradient<Be>(nn::mean_pool_head{});
  check_head_gradient<Be>(nn::mean_pool_head{.normalize = true});
  check_head_gradient<Be>(nn::cls_head{});
}

TEST_CASE_TEMPLATE("embedding: word, position and type of every token", Be, PREHEAT_BACKENDS) {
  Be be;
  const auto weights = small_weights<Be>(be);
  auto batch = small_batch<Be>(be);
  const table words = read<Be>(be, weights.frozen.embeddings.words);
  const table positions = read<Be>(be, weights.frozen.embeddings.positions);
  const table types = read<Be>(be, weights.frozen.embeddings.types);
  const auto check = [&] {
    mat<Be> X;
    nn::embed_tokens<Be>(be, weights.frozen.embeddings, batch, X);
    const table x = read<Be>(be, X);
    index_t t = 0;
    for (const index_t n : batch.lengths) {
      for (index_t k = 0; k < n; ++k, ++t) {
        const index_t type = batch.types.empty() ? 0 : batch.types[t];
        CHECK(gap(columns(x, t, 1), columns(words, batch.ids[t], 1) + columns(positions, k, 1) +
                                        columns(types, type, 1)) < tolerance<Be>(1));
      }
    }
  };
  check();
  batch.types.clear();
  check();
}
