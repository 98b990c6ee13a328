// VeRA on a layer: the shared pair, the output by its formula, the gradients of both vectors and of
// the input by central differences, merging.
#include <preheat/adapter/vera.hpp>
#include <preheat/optim/adam.hpp>

#include "adapter_checks.hpp"

using namespace conformance;
using namespace preheat;

namespace {

template <class Be>
using shared_pair = std::shared_ptr<const adapter::vera::shared<Be>>;

template <class Be>
shared_pair<Be> pair_for(Be& be, layer_shape largest, index_t rank, std::uint64_t seed = 8) {
  return make_shared_factors(adapter::vera{}, be, largest, rank, generator(seed));
}

// Attaches VeRA with random vectors to a layer.
template <class Be>
void attach_random(Be& be, adapted<Be, adapter::vera>& linear, index_t l,
                   const shared_pair<Be>& pair, std::uint64_t seed) {
  auto p = linear.adapter().start(be, linear.base(l), pair, generator());
  write(be, random_table(p.d.rows(), 1, seed), view_of<Be>(p.d));
  write(be, random_table(p.b.rows(), 1, seed + 1), view_of<Be>(p.b));
  linear.attach(l, std::move(p), scalar_of<Be>(scaling_value));
}

// s·diag(λ_b)·B·diag(λ_d)·A of a layer m×n, in plain loops.
template <class Be>
table delta_of(Be& be, const adapter::vera::params<Be>& p, index_t m, index_t n) {
  const table A = read<Be>(be, p.shared->A);
  const table B = read<Be>(be, p.shared->B);
  const table d = read<Be>(be, p.d);
  const table b = read<Be>(be, p.b);
  table delta(m, n);
  for (index_t i = 0; i < m; ++i) {
    for (index_t j = 0; j < n; ++j) {
      for (index_t k = 0; k < d.rows; ++k) {
        delta(i, j) += scaling_value * b(i, 0) * B(i, k) * d(k, 0) * A(k, j);
      }
    }
  }
  return delta;
}

}  // namespace

TEST_CASE_TEMPLATE("vera: entries of the pair depend on the seed and their place", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const auto large = pair_for(be, {40, 30}, 3);
  const table A = read<Be>(be, large->A);
  const table B = read<Be>(be, large->B);
  REQUIRE((A.rows == 3 && A.cols == 30 && B.rows == 40 && B.cols == 3));
  const double bound_a = std::sqrt(6.0 / 30);
  const double bound_b = std::sqrt(6.0 / 3);
  CHECK(largest(A) <= bound_a * (1 + epsilon<Be>));
  CHECK(largest(B) <= bound_b * (1 + epsilon<Be>));
  // Mean squares of 90 and 120 draws of U(±c): c²/3, and the deviation of one square is 2c²/√45.
  CHECK(std::abs(square_norm(A) / 90 / (bound_a * bound_a) - 1.0 / 3) < 5 * 0.3 / std::sqrt(90.0));
  CHECK(std::abs(square_norm(B) / 120 / (bound_b * bound_b) - 1.0 / 3) <
        5 * 0.3 / std::sqrt(120.0));

  const auto shorter = pair_for(be, {25, 30}, 3);  // fewer outputs: the first rows of B
  CHECK(same(read<Be>(be, shorter->A), A));
  CHECK(same(transposed(read<Be>(be, shorter->B)), columns(transposed(B), 0, 25)));
  const auto narrower = pair_for(be, {40, 12}, 3);  // fewer inputs: another bound, the same draws
  CHECK(gap(read<Be>(be, narrower->A), std::sqrt(30.0 / 12) * columns(A, 0, 12)) <
        tolerance<Be>(1));
  CHECK(same(read<Be>(be, narrower->B), B));

  const auto other = pair_for(be, {40, 30}, 3, 9);
  CHECK(gap(read<Be>(be, other->A), A) > 0.1);
  CHECK(gap(read<Be>(be, other->B), B) > 0.1);
  CHECK(gap(columns(A, 0, 3), columns(transposed(B), 0, 3)) > 0.1);  // nor is one factor the other
}

TEST_CASE_TEMPLATE("vera: starts at lambda_d = 0.1, lambda_b = 0, and does not change the output",
                   Be, PREHEAT_BACKENDS) {
  for (const bool bias : {true, false}) {
    linear_problem<Be> p({{5, 4}, {6, 5}}, {0, 1}, bias);
    adapted<Be, adapter::vera> linear(p.net);
    p.net.loss(p.batch, linear);
    const table before = p.net.output;
    const auto pair = pair_for(p.be, {6, 5}, 9);  // a rank above every size
    for (const index_t l : {0, 1}) {
      linear.attach(l, linear.adapter().start(p.be, linear.base(l), pair, generator()), 1);
      const auto& x = linear.layers()[l].parameters;
      for (const double value : read<Be>(p.be, x.d).values) {
        CHECK(value == double(scalar_of<Be>(0.1)));
      }
      CHECK(largest(read<Be>(p.be, x.b)) == 0);
      CHECK(trained_size(x) == 9 + 5 + l);
      CHECK(rank_of(linear.adapter(), p.be, x) == 9);
    }
    p.net.loss(p.batch, linear);
    CHECK(same(p.net.output, before));
  }
  Be be;
  const mat<Be> W = be.zeros(3, 2);
  const frozen_linear<Be> base{W, {}, 1};
  CHECK_THROWS_WITH_AS(adapter::vera{}.start(be, base, shared_pair<Be>(), generator()),
                       "preheat: adapter::vera: start takes the pair that make_shared returned",
                       invalid_argument);
}

TEST_CASE_TEMPLATE("vera: y = Wx + b + s b*(B(d*(Ax))), and it merges", Be, PREHEAT_BACKENDS) {
  for (const bool bias : {true, false}) {
    linear_problem<Be> p({{5, 4}}, {0}, bias);
    base_layer<Be>& frozen = p.net.layers()[0];
    const table w = read<Be>(p.be, frozen.W);
    const table b = bias ? read<Be>(p.be, frozen.b) : table(5, 1);
    adapted<Be, adapter::vera> linear(p.net);
    attach_random(p.be, linear, 0, pair_for(p.be, {8, 7}, 3), 610);
    const auto& x = linear.layers()[0].parameters;
    const table delta = delta_of(p.be, x, 5, 4);
    p.net.loss(p.batch, linear);
    const table output = p.net.output;
    const table expected = (w + delta) * read<Be>(p.be, p.batch.X) + b * table(1, 7, 1);
    CHECK(gap(output, expected) < tolerance<Be>(20) * largest(expected));

    linear.merge(0);
    CHECK(gap(read<Be>(p.be, frozen.W), w + delta) < tolerance<Be>(4) * largest(w + delta));
    p.net.loss(p.batch, linear);
    CHECK(gap(p.net.output, output) < tolerance<Be>(20) * largest(output));
    merge_into(linear.adapter(), p.be, x, scalar_of<Be>(-scaling_value), view_of<Be>(frozen.W),
               view_of<Be>(frozen.b));
    CHECK(gap(read<Be>(p.be, frozen.W), w) < tolerance<Be>(4) * largest(w + delta));
  }
}

TEST_CASE_TEMPLATE("vera: gradients equal differences, with dropout and shared weights", Be,
                   PREHEAT_BACKENDS) {
  const auto check = [](const std::vector<std::pair<index_t, index_t>>& shapes,
                        const std::vector<index_t>& order, const std::vector<index_t>& attached,
                        bool bias, double dropout) {
    CAPTURE(bias);
    CAPTURE(dropout);
    linear_problem<Be> p(shapes, order, bias);
    adapted<Be, adapter::vera> linear(p.net);
    const auto pair = pair_for(p.be, {6, 6}, 3);
    for (const index_t l : attached) {
      attach_random(p.be, linear, l, pair, 620 + 10 * std::uint64_t(l));
    }
    linear.set_dropout(dropout, generator(4));
    check_gradients(p, linear);
  };
  for (const bool bias : {true, false}) {
    for (const double dropout : {0.0, 0.4}) {
      check({{5, 4}}, {0}, {0}, bias, dropout);
      check({{5, 4}, {6, 5}, {3, 6}}, {0, 1, 2}, {0, 2}, bias, dropout);  // the middle one is bare
      check({{4, 4}}, {0, 0}, {0}, bias, dropout);                        // one layer used twice
    }
  }
}

TEST_CASE_TEMPLATE("vera: copies, gradients and moments hold no copy of the pair", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const mat<Be> W = be.zeros(5, 4);
  const auto pair = pair_for(be, {5, 4}, 2);
  const auto p = adapter::vera{}.start(be, frozen_linear<Be>{W, {}, 1}, pair, generator());
  CHECK(pair.use_count() == 2);
  const auto copy = clone_params(be, p);
  CHECK(copy.shared.get() == pair.get());
  CHECK(same(read<Be>(be, copy.d), read<Be>(be, p.d)));
  CHECK(zeros_like(be, p).shared == nullptr);
  const auto state = optim::adamw{}.start(be, p);
  CHECK(state.m.shared == nullptr);
  CHECK(state.v.d.rows() == 2);
  CHECK(pair.use_count() == 3);
}
