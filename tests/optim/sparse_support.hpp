// What the tests of RM-LoRA and SoRA share: random parameters of any adapter, single steps of an
// optimizer outside a run, and the mathematics of penalties and gates on tables.
#pragma once
#include <preheat/core/parameters.hpp>

#include "support/regressions.hpp"

namespace conformance {

// Parameters with a random number in every entry, frozen parts too: A is 4×7, B is 6×4, g is 4×1.
inline table random_part(preheat::parameter_role kind, std::uint64_t seed) {
  const bool is_b = kind == preheat::parameter_role::B;
  return random_table(is_b ? 6 : 4, kind == preheat::parameter_role::A ? 7 : (is_b ? 4 : 1), seed);
}
template <class Adapter, preheat::backend Be>
auto random_params(Be& be, std::uint64_t seed) {
  typename Adapter::template params<Be> p;
  preheat::for_each(
      [&](auto parameter, auto& x) {
        x = matrix(be, random_part(parameter.role, 10 * seed + int(parameter.role)));
      },
      p);
  return p;
}
// A random gradient: like the parameters, but frozen parts are empty.
template <class Adapter, preheat::backend Be>
auto random_gradient(Be& be, std::uint64_t seed) {
  auto g = random_params<Adapter>(be, seed);
  preheat::for_each(
      [&](auto parameter, auto& x) {
        if (!parameter.trained) {
          x = preheat::mat<Be>{};
        }
      },
      g);
  return g;
}

// The context of a step that an optimizer gets in a run of 1000 steps with the given seed.
inline preheat::step_context context_of(index_t step, double rate = 0.1, std::uint64_t seed = 5) {
  preheat::step_context context;
  context.learning_rate = rate;
  context.step = step;
  context.steps = 1000;
  context.gen = preheat::generator(seed).fork(preheat::purpose::step, std::uint64_t(step));
  return context;
}

// ΔW = s·B·diag(g)·A, and the gradient of the regressions' loss in its parts; plain LoRA has g = 1.
struct gated_tables {
  table A, B, g;
  table whole(const table& W, double s) const { return W + s * (B * diagonal(g.values) * A); }
};
inline gated_tables loss_gradient(const regression_data& data, std::size_t l, const gated_tables& p,
                                  double s, column_range batch) {
  const table D = diagonal(p.g.values);
  const table G = data.gradient(l, p.whole(data.layers[l].W, s), batch);
  const table inner = transposed(p.B) * G * transposed(p.A);
  table dg(p.g.rows, 1);
  for (index_t k = 0; k < dg.rows; ++k) {
    dg(k, 0) = s * inner(k, k);
  }
  return {s * (D * transposed(p.B) * G), s * (G * transposed(p.A) * D), dg};
}

// min(1, bound/(norm + 1e-6)) for the gradients of all layers.
inline double clip_factor(const std::vector<gated_tables>& gradients, double bound) {
  double square = 0;
  for (const gated_tables& g : gradients) {
    square += square_norm(g.A) + square_norm(g.B) + square_norm(g.g);
  }
  return std::min(1.0, bound / (std::sqrt(square) + 1e-6));
}

// C − I of RM-LoRA's penalty ‖C − I‖_F, and the penalty's gradient; the ranks are rows (A) or
// columns (B).
inline table excess(const table& x, bool ranks_are_rows) {
  const table C = ranks_are_rows ? x * transposed(x) : transposed(x) * x;
  return C - identity(C.rows);
}
inline double penalty(const table& x, bool ranks_are_rows) {
  return std::sqrt(square_norm(excess(x, ranks_are_rows)));
}
inline table penalty_gradient(const table& x, bool ranks_are_rows) {
  const table E = excess(x, ranks_are_rows);
  return (2 / std::sqrt(square_norm(E))) * (ranks_are_rows ? E * x : x * E);
}

// −1, 0 or 1.
inline double sign(double z) {
  return double(z > 0) - double(z < 0);
}

}  // namespace conformance
