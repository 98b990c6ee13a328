// One layer's pair of factors and a gradient for W, on tables: what an optimizer that moves a pair
// is asked about, and what it can reach.
#pragma once
#include <preheat/adapter/lora.hpp>

#include "support/backends.hpp"
#include "support/dense.hpp"
#include "support/spectrum.hpp"

namespace conformance {

template <preheat::backend Be>
using lora_params = preheat::adapter::lora::params<Be>;

struct pair_problem {
  static constexpr index_t m = 9;
  static constexpr index_t n = 7;
  static constexpr index_t r = 3;

  table A = with_spectrum(r, n, {1.5, 1, 0.75}, 500);
  table B = with_spectrum(m, r, {1.25, 1, 0.5}, 502);
  table G = random_table(m, n, 504);
  double s = 1.75;

  // The plain gradient of the factors.
  table plain_a() const { return s * (transposed(B) * G); }
  table plain_b() const { return s * (G * transposed(A)); }
  table projection_a() const { return projection(transposed(A)); }
  table projection_b() const { return projection(B); }
  // What a pair can reach of G: all but (I − P_B)·G·(I − P_A).
  table in_reach() const {
    return G - (identity(B.rows) - projection_b()) * G * (identity(A.cols) - projection_a());
  }

  template <preheat::backend Be>
  lora_params<Be> factors(Be& be) const {
    return {matrix(be, A), matrix(be, B)};
  }
  template <preheat::backend Be>
  lora_params<Be> gradient(Be& be) const {
    return {matrix(be, plain_a()), matrix(be, plain_b())};
  }
};

// Steps h of the factors, and what they do to W.
struct pair_steps {
  table a, b;
};
inline table effect(const pair_problem& p, const pair_steps& h) {
  return p.s * (p.B * h.a + h.b * p.A);
}

// c·ε·κ, for factors of full rank.
template <preheat::backend Be>
double rounding(const pair_problem& p) {
  return tolerance<Be>(1) *
         (conditioning(p.A * transposed(p.A)) + conditioning(transposed(p.B) * p.B));
}

}  // namespace conformance
