// LoRA-Pro's laws: the effect of its steps on W, that no pair comes nearer to the gradient and no
// equivalent pair nearer to the plain one, what turning the ranks leaves alone, and the edges.
// Projections and pseudoinverses on tables are dense.hpp's. lora_pro_optim.cpp has the
// optimizers, lora_pro_run.cpp runs, lora_pro_reference.cpp their trajectories.
#include <preheat/optim/lora_pro.hpp>

#include "pair_problem.hpp"
#include "support/backends.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr index_t m = pair_problem::m;
constexpr index_t n = pair_problem::n;
constexpr index_t r = pair_problem::r;

// The library's.
template <class Be>
pair_steps equivalent(const pair_problem& p, double delta = 0) {
  Be be;
  const lora_params<Be> factors = p.factors<Be>(be);
  lora_params<Be> gradient = p.gradient<Be>(be);
  optim::detail::pair_geometry<Be> pair;
  optim::detail::measure_pair(be, factors, delta, pair);
  optim::detail::to_equivalent_steps(be, factors, gradient, p.s, pair);
  return {read<Be>(be, gradient.A), read<Be>(be, gradient.B)};
}

// Half of the gradient of ‖h_A − G_A‖² + ‖h_B − G_B‖² along h_A + X·A, h_B − B·X, at X = 0.
table slope(const pair_problem& p, const pair_steps& h) {
  return (h.a - p.plain_a()) * transposed(p.A) - transposed(p.B) * (h.b - p.plain_b());
}
double distance_to_plain(const pair_problem& p, const pair_steps& h) {
  return square_norm(h.a - p.plain_a()) + square_norm(h.b - p.plain_b());
}

// The distance of G to all s·B·h_A + s·h_B·A, by least squares over the entries of h_A and h_B.
double distance_to_pairs(const pair_problem& p) {
  table design(m * n, r * n + m * r);
  index_t column = 0;
  const auto put = [&](const table& moved) {
    std::copy(moved.values.begin(), moved.values.end(), design.values.begin() + column * m * n);
    ++column;
  };
  for (index_t i = 0; i < r * n; ++i) {
    table one(r, n);
    one.values[i] = 1;
    put(p.s * (p.B * one));
  }
  for (index_t i = 0; i < m * r; ++i) {
    table one(m, r);
    one.values[i] = 1;
    put(p.s * (one * p.A));
  }
  table g(m * n, 1);
  g.values = p.G.values;
  return std::sqrt(square_norm(g - projection(design) * g));
}

}  // namespace

TEST_CASE_TEMPLATE("lora_pro: the steps move W by G but for what both projections miss", Be,
                   PREHEAT_BACKENDS) {
  for (const double s : {0.5, 1.0, 1.75}) {
    CAPTURE(s);
    const pair_problem p{.s = s};
    CHECK(gap(effect(p, equivalent<Be>(p)), p.in_reach()) < rounding<Be>(p));
  }
}

TEST_CASE_TEMPLATE("lora_pro: no steps of the factors come nearer to G", Be, PREHEAT_BACKENDS) {
  const pair_problem p;
  const double distance = std::sqrt(square_norm(p.G - effect(p, equivalent<Be>(p))));
  CHECK(std::abs(distance - distance_to_pairs(p)) < rounding<Be>(p));
  CHECK(distance > 1);
}

TEST_CASE_TEMPLATE("lora_pro: of the steps with one effect they are the nearest to plain ones", Be,
                   PREHEAT_BACKENDS) {
  const pair_problem p;
  const double tol = rounding<Be>(p);
  const pair_steps h = equivalent<Be>(p);
  CHECK(largest(slope(p, h)) < tol);
  for (const double size : {0.25, 1.0, 4.0}) {
    for (const std::uint64_t seed : {510, 511, 512}) {
      const table X = size * random_table(r, r, seed);
      const pair_steps other{h.a + X * p.A, h.b - p.B * X};
      CHECK(gap(effect(p, other), p.in_reach()) < tol * (1 + size));
      // X = 0 is the least of a parabola.
      const double rise = square_norm(X * p.A) + square_norm(p.B * X);
      const double risen = distance_to_plain(p, other) - distance_to_plain(p, h);
      CHECK(std::abs(risen - rise) < tol * (1 + rise));
      CHECK(risen > 0);
    }
  }
}

TEST_CASE_TEMPLATE("lora_pro: the steps never go uphill", Be, PREHEAT_BACKENDS) {
  const pair_problem p;
  const pair_steps h = equivalent<Be>(p);
  const double descent = dot(p.plain_a(), h.a) + dot(p.plain_b(), h.b);
  const table P_B = p.projection_b();
  const double want =
      square_norm(P_B * p.G) + square_norm((identity(m) - P_B) * p.G * p.projection_a());
  CHECK(std::abs(descent - want) < rounding<Be>(p) * want);
  CHECK(descent > 0);
}

TEST_CASE_TEMPLATE("lora_pro: another basis of the ranks has the same effect", Be,
                   PREHEAT_BACKENDS) {
  const pair_problem p;
  const table before = effect(p, equivalent<Be>(p));
  for (const std::vector<double>& sigma : {std::vector<double>{1, 1, 1}, {2, 1, 0.5}}) {
    const table Q = with_spectrum(r, r, sigma, 520);
    pair_problem turned = p;
    turned.A = Q * p.A;
    turned.B = p.B * inverse(Q);
    const pair_steps h = equivalent<Be>(turned);
    CHECK(gap(effect(turned, h), before) < rounding<Be>(p) + rounding<Be>(turned));
    CHECK(gap(h.a, equivalent<Be>(p).a) > 0.1);
  }
}

TEST_CASE_TEMPLATE("lora_pro: from B = 0 the effect is G·P_A, all of it in B", Be,
                   PREHEAT_BACKENDS) {
  pair_problem p;
  p.B = table(m, r);
  const table gram = p.A * transposed(p.A);
  for (const double delta : {0.0, 1e-8, 0.25}) {
    CAPTURE(delta);
    const pair_steps h = equivalent<Be>(p, delta);
    CHECK(largest(h.a) == 0);
    const table want = (1 / p.s) * (p.G * transposed(p.A) * inverse(gram + delta * identity(r)));
    const double tol = tolerance<Be>(1) * conditioning(gram);
    CHECK(gap(h.b, want) < tol);
    if (delta == 0) {
      CHECK(gap(effect(p, h), p.G * p.projection_a()) < tol);
    }
  }
}

TEST_CASE_TEMPLATE("lora_pro: factors that lack ranks have finite steps with the same laws", Be,
                   PREHEAT_BACKENDS) {
  pair_problem p;
  const auto drop_from_a = [](pair_problem& q) {
    for (index_t j = 0; j < n; ++j) {
      q.A(1, j) = -2 * q.A(0, j);
    }
  };
  const auto drop_from_b = [](pair_problem& q) {
    for (index_t i = 0; i < m; ++i) {
      q.B(i, 2) = 0.5 * q.B(i, 0);
    }
  };
  pair_problem both = p;
  drop_from_a(both);
  drop_from_b(both);
  pair_problem same_rank = p;  // and in one of the ranks together
  drop_from_b(same_rank);
  for (index_t j = 0; j < n; ++j) {
    same_rank.A(2, j) = 0;
  }
  pair_problem nothing = both;
  nothing.B = table(m, r);
  pair_problem only_a = p;
  drop_from_a(only_a);
  pair_problem only_b = p;
  drop_from_b(only_b);
  for (const pair_problem& q : {only_a, only_b, both, same_rank, nothing}) {
    for (const double delta : {0.0, 1e-8}) {
      CAPTURE(delta);
      const double tol = rounding<Be>(p) + 30 * delta;  // 1/λ_min < 5
      const pair_steps h = equivalent<Be>(q, delta);
      CHECK(gap(effect(q, h), q.in_reach()) < tol);
      CHECK(largest(slope(q, h)) < tol);
      CHECK(largest(h.a) + largest(h.b) < 100);
    }
  }
}

TEST_CASE_TEMPLATE("lora_pro: damping replaces (·)⁺ by (· + δI)⁻¹ and nothing else", Be,
                   PREHEAT_BACKENDS) {
  const pair_problem p;
  const double delta = 0.25;
  const table inverse_a = inverse(p.A * transposed(p.A) + delta * identity(r));
  const table inverse_b = inverse(transposed(p.B) * p.B + delta * identity(r));
  const table soft_a = transposed(p.A) * inverse_a * p.A;
  const table soft_b = p.B * inverse_b * transposed(p.B);
  const table missed = (identity(m) - soft_b) * p.G * (identity(n) - soft_a);
  CHECK(gap(effect(p, equivalent<Be>(p, delta)), p.G - missed) < rounding<Be>(p));
}
