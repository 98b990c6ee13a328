// LoRA-Muon (Cesista, Crowson, Simal, Biderman, "LoRA-Muon: Spectral Steepest Descent on the Low-Rank
// Manifold", arXiv 2606.12921): Muon's step, the polar factor of the momentum, for the product of a
// pair. Half of the step η goes into each factor, measured by the spectral norm of what it changes in
// B·A, so that the step does not depend on how B·A is split into factors:
//
//   M ← β·M + (1 − β)·G for each factor,   R_A = (A·Aᵀ)^−½,  R_B = (Bᵀ·B)^−½,   q = √(1 − η·λ)
//   A ← q·A − η/(2q)·R_B·msign(R_B·M_A),   B ← q·B − η/(2q)·msign(M_B·R_A)·R_A
//
// msign(X) is the polar factor of X (linalg/polar.hpp). λ decays the product and not each factor:
// without a gradient B·A ← (1 − η·λ)·B·A. All from the values before the step. The best rate is said to
// carry over between ranks and sizes.
//
// Read in a public reimplementation of the paper's algorithm, and in summaries of the paper; the paper's
// own settings are not known here, and `lr`, `beta` and `weight_decay` are [preheat]. It computes roots
// and signs by fixed Newton–Schulz iterations; here they are exact, by eigendecompositions [preheat].
// Where a Gram matrix is singular its pseudoinverse is taken [preheat], so that from B = 0 the first
// step moves B alone. The step is one of B·A: W moves by s times as much.
//
// Cost: O((m + n)·r² + r³) per step. State: one number per entry.
// Errors: an adapter that does not train a plain pair (A, B); β outside [0, 1); η·λ >= 1.
#pragma once
#include <cmath>
#include <utility>

#include "../linalg/polar.hpp"
#include "muon.hpp"

namespace preheat::optim {

struct lora_muon {
  using axis = axes::optim;

  double lr = 1e-2;
  double beta = 0.9;
  double weight_decay = 0;

  template <class Be, class P>
  using state = muon::state<Be, P>;  // M of both factors

  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    static_assert(trained_pair<P>,
                  "preheat: optim::lora_muon moves a pair (A, B) and nothing else; use "
                  "adapter::lora");
    require_momentum_settings("optim::lora_muon: 0 <= beta < 1", lr, beta, weight_decay);
    return {zeros_like(be, p)};
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    using T = scalar_of<Be>;
    for_each_trained(
        [&](auto, auto& m, const auto& g) {
          be.apply(linalg::axpby<T>{T(1 - beta), T(beta)}, m, g);
        },
        st.m, gradient);
    const auto inverse_root = [&](transpose t, const mat<Be>& x) {
      return linalg::symmetric_root<Be>(be, linalg::gram<Be>(be, t, x), linalg::root_kind::inverse);
    };
    const mat<Be> root_a = inverse_root(transpose::no, p.A);
    const mat<Be> root_b = inverse_root(transpose::yes, p.B);
    const auto times = [&](const mat<Be>& x, const mat<Be>& y) {
      return linalg::product<Be>(be, transpose::no, x, transpose::no, y);
    };
    const mat<Be> a = times(root_b, linalg::polar_factor<Be>(be, times(root_b, st.m.A)));
    const mat<Be> b = times(linalg::polar_factor<Be>(be, times(st.m.B, root_a)), root_a);
    move(be, p.A, a, context.rate(parameter_role::A), context.decay(parameter_role::A));
    move(be, p.B, b, context.rate(parameter_role::B), context.decay(parameter_role::B));
  }

 private:
  template <backend Be>
  void move(Be& be, view_of<Be> x, const_view_of<Be> direction, double rate, double decay) const {
    using T = scalar_of<Be>;
    const double kept = 1 - rate * weight_decay * decay;
    require(kept > 0, "optim::lora_muon: learning rate · weight decay < 1", 1 - kept, 1.0);
    const double q = std::sqrt(kept);
    be.apply(linalg::axpby<T>{T(-rate / (2 * q)), T(q)}, x, direction);
  }
};

}  // namespace preheat::optim
