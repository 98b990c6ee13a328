// RandLoRA: the shared bases, ΔW by its formula for tall and wide layers, gradients by central differences,
// full rank, merging, a run, and twenty steps in plain loops.
#include <preheat/adapter/randlora.hpp>

#include "adapter_checks.hpp"
#include "adapter_reference.hpp"

using namespace conformance;
using namespace preheat;

namespace {

template <class Be>
using shared_bases = std::shared_ptr<const adapter::randlora::shared<Be>>;

template <class Be>
shared_bases<Be> bases_for(Be& be, layer_shape largest, index_t rank, std::uint64_t seed = 8) {
  return make_shared_factors(adapter::randlora{}, be, largest, rank, generator(seed));
}

template <class Be>
void attach_random(Be& be, adapted<Be, adapter::randlora>& linear, index_t l,
                   const shared_bases<Be>& bases, std::uint64_t seed) {
  auto p = linear.adapter().start(be, linear.base(l), bases, generator());
  for_each_trained(
      [&](auto, auto& x) { write(be, random_table(x.rows(), x.cols(), seed++), view_of<Be>(x)); },
      p);
  linear.attach(l, std::move(p), 1);
}

// The first `count` rows of a table.
table first_rows(const table& a, index_t count) {
  return rows(a, 0, count);
}

// U of the trained λ (q×r) and γ (q×d), by the definition.
table rows_of_u(const table& lambda, const table& gamma, const table& a) {
  const index_t q = lambda.rows, r = lambda.cols, d = gamma.cols;
  table U(q * r, d);
  for (index_t k = 0; k < r; ++k) {
    for (index_t b = 0; b < q; ++b) {
      for (index_t j = 0; j < d; ++j) {
        U(k * q + b, j) = lambda(b, k) * a(j, k) * gamma(b, j);
      }
    }
  }
  return U;
}

// ΔW of a layer shaped like W.
table delta_of(const table& W, const tables& p, const table& a, const table& V, double s) {
  const table U = rows_of_u(p[0], p[1], first_rows(a, p[1].cols));
  const table part = columns(first_rows(V, std::max(W.rows, W.cols)), 0, U.rows);
  return W.cols <= W.rows ? s * (part * U) : s * transposed(part * U);
}

}  // namespace

TEST_CASE_TEMPLATE("randlora: bases of variance one, starts without a change at λ = 0", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const auto bases = bases_for(be, {40, 30}, 4);
  const table a = read<Be>(be, bases->a), V = read<Be>(be, bases->V);
  CHECK((a.rows == 30 && a.cols == 4 && V.rows == 40 && V.cols == 32));
  for (const table& x : {a, V}) {
    const double count = double(x.values.size());
    CHECK(largest(x) <= std::sqrt(3.0) * (1 + epsilon<Be>));
    CHECK(std::abs(square_norm(x) / count - 1) < 5 * 0.9 / std::sqrt(count));
  }
  const mat<Be> W = be.zeros(20, 30);
  const auto p = adapter::randlora{}.start(be, {W, {}, 1}, bases, generator());
  CHECK((p.lambda.rows() == 5 && p.lambda.cols() == 4 && p.gamma.rows() == 5 &&
         p.gamma.cols() == 20));
  CHECK(largest(read<Be>(be, p.lambda)) == 0);
  CHECK(gap(read<Be>(be, p.gamma), table(5, 20, 1.0 / 20)) < epsilon<Be>);
  CHECK(trained_size(p) == 5 * 24);
  CHECK(rank_of(adapter::randlora{}, be, p) == 4);
  CHECK_THROWS_AS((adapter::randlora{.scale = 0}.start(be, {W, {}, 1}, bases, generator())),
                  invalid_argument);
  CHECK_THROWS_AS((adapter::randlora{}.start(be, {W, {}, 1}, shared_bases<Be>(), generator())),
                  invalid_argument);
}

TEST_CASE_TEMPLATE("randlora: the output and merging are the formula's, tall, wide and square", Be,
                   PREHEAT_BACKENDS) {
  for (const auto& [m, n] : {std::pair<index_t, index_t>{7, 5}, {5, 7}, {6, 6}}) {
    linear_problem<Be> p({{m, n}}, {0}, true);
    base_layer<Be>& frozen = p.net.layers()[0];
    const table w = read<Be>(p.be, frozen.W);
    adapted<Be, adapter::randlora> linear(p.net, {.scale = 0.5});
    const auto bases = bases_for(p.be, {9, 8}, 2);
    attach_random(p.be, linear, 0, bases, 610);
    const auto& x = linear.layers()[0].parameters;
    const table delta =
        delta_of(w, read_trained(p.be, x), read<Be>(p.be, bases->a), read<Be>(p.be, bases->V), 0.5);
    p.net.loss(p.batch, linear);
    const table wanted =
        (w + delta) * read<Be>(p.be, p.batch.X) + read<Be>(p.be, frozen.b) * table(1, 7, 1);
    CHECK(gap(p.net.output, wanted) < tolerance<Be>(40) * largest(wanted));
    const mat<Be> full = matrix(p.be, delta);  // of full rank
    const table S = read<Be>(p.be, p.be.svd(full).S);
    CHECK(S(std::min(m, n) - 1, 0) > tolerance<Be>(1) * S(0, 0));
    linear.merge(0);
    CHECK(gap(read<Be>(p.be, frozen.W), w + delta) < tolerance<Be>(40) * largest(delta));
  }
}

TEST_CASE_TEMPLATE("randlora: gradients equal differences, with dropout and shared weights", Be,
                   PREHEAT_BACKENDS) {
  const auto check = [](const std::vector<std::pair<index_t, index_t>>& shapes,
                        const std::vector<index_t>& order, const std::vector<index_t>& attached,
                        double dropout) {
    linear_problem<Be> p(shapes, order, true);
    adapted<Be, adapter::randlora> linear(p.net, {.scale = 0.3});
    const auto bases = bases_for(p.be, {6, 6}, 2);
    for (const index_t l : attached) {
      attach_random(p.be, linear, l, bases, 620 + 10 * std::uint64_t(l));
    }
    linear.set_dropout(dropout, generator(4));
    check_gradients(p, linear);
  };
  for (const double dropout : {0.0, 0.4}) {
    check({{5, 4}}, {0}, {0}, dropout);
    check({{4, 5}}, {0}, {0}, dropout);
    check({{5, 4}, {6, 5}, {3, 6}}, {0, 1, 2}, {0, 2}, dropout);
    check({{4, 4}}, {0, 0}, {0}, dropout);
  }
}

TEST_CASE_TEMPLATE("randlora: a run falls, merges, chains", Be, PREHEAT_BACKENDS) {
  check_life_of<Be>(randlora{.adapter = {.scale = 1}}, {{9, 7}, {6, 8}}, 3);
}

TEST_CASE("reference: RandLoRA, twenty steps") {
  using Be = cpu_double;
  Be be;
  const double s = 0.4;  // the run's own scale is not RandLoRA's
  check_adapter_reference(
      randlora{.adapter = {.scale = s}}, {{9, 7}, {6, 8}}, 3, 7.0,
      [&](const table& W, const tables& p, const auto& x) {
        return delta_of(W, p, read<Be>(be, x.shared->a), read<Be>(be, x.shared->V), s);
      },
      [&](const table& W, const tables& p, const table& G, const auto& x) -> tables {
        const table a = read<Be>(be, x.shared->a);
        const table V = columns(first_rows(read<Be>(be, x.shared->V), std::max(W.rows, W.cols)), 0,
                                p[0].rows * p[0].cols);
        const table E = s * (transposed(V) * (W.cols <= W.rows ? G : transposed(G)));
        table l(p[0].rows, p[0].cols), g(p[1].rows, p[1].cols);
        for (index_t k = 0; k < l.cols; ++k) {
          for (index_t b = 0; b < l.rows; ++b) {
            for (index_t j = 0; j < g.cols; ++j) {
              const double e = E(k * l.rows + b, j) * a(j, k);
              l(b, k) += e * p[1](b, j);
              g(b, j) += e * p[0](b, k);
            }
          }
        }
        return {l, g};
      },
      0.3);
}
