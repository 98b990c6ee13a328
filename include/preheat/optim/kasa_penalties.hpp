// KaSA's penalties ("KaSA: Knowledge-Aware Singular-Value Adaptation of Large Language Models", arXiv
// 2412.06071), over any optimizer and an adapter with learned gates d: the loss gains, for every
// layer,
//
//   β·Σ_k d_k² + γ·(‖A·Aᵀ − I‖_F + ‖Bᵀ·B − I‖_F)
//
// as a sum over the layers, not a mean [PEFT] (`_get_kasa_loss`, which a user of PEFT adds to the
// loss). Gradients: 2·β·d, γ·2·(A·Aᵀ − I)·A/‖A·Aᵀ − I‖ and γ·2·B·(Bᵀ·B − I)/‖Bᵀ·B − I‖, added before
// clipping; a norm of zero gives none. β = 1e-4, γ = 1e-3 [PEFT], the authors' for GLUE.
// Cost: O((m + n)·r²) per step. Errors: β or γ < 0; an adapter without learned gates.
#pragma once
#include "regularized.hpp"

namespace preheat::optim {

template <class Base = adamw>
struct kasa_penalties {
  using axis = axes::optim;

  Base base{};
  double beta = 1e-4;
  double gamma = 1e-3;

  template <class Be, class P>
  using state = typename Base::template state<Be, P>;

  template <backend Be, class P>
  void on(hook::penalize, Be& be, const P& p, P& gradient, const step_context&) const {
    using T = scalar_of<Be>;
    for_each_trained(
        [&](auto parameter, const mat<Be>& x, mat<Be>& g) {
          if constexpr (parameter.role == parameter_role::gate) {
            be.apply(linalg::axpby<T>{T(2 * beta), 1}, g, x);
          } else if constexpr (parameter.ranks != along::none) {
            detail::add_orthogonality_gradient(be, parameter.ranks == along::rows, gamma, x, g);
          }
        },
        p, gradient);
  }
  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    static_assert(trains<P>(parameter_role::gate),
                  "preheat: optim::kasa_penalties shrinks learned gates; use adapter::gated<>");
    require(beta >= 0 && gamma >= 0, "optim::kasa_penalties: beta, gamma >= 0", beta, gamma);
    return base.start(be, p);
  }
  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    base.step(be, p, gradient, st, context);
  }
};

}  // namespace preheat::optim
