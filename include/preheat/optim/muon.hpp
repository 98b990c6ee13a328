// Muon (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024) for each factor
// by itself, as torch.optim.Muon, but with an exact polar factor instead of a few Newton–Schulz steps
// [preheat]:
//
//   M ← μ·M + g;   D = msign(g + μ·M) with Nesterov, else msign(M);
//   p ← (1 − η·λ)·p − η·√max(1, rows/columns)·D
//
// msign(X) is the polar factor of X (linalg/polar.hpp). μ = 0.95, λ = 0.1 [torch]. Of a pair (A, B) this
// sees only the factors; optim::lora_muon takes its step in the product.
// Cost: O((m + n)·r²) per step. State: one number per entry. Errors: an adapter that trains vectors
// (gates, magnitudes, a bias), for which Muon is not defined; μ outside [0, 1).
#pragma once
#include <algorithm>
#include <cmath>

#include "../linalg/polar.hpp"

namespace preheat::optim {

// What Muon and LoRA-Muon require of their settings; `law` says what the momentum must be.
inline void require_momentum_settings(const char* law, double lr, double momentum,
                                      double weight_decay) {
  require(lr >= 0, "learning rate >= 0", lr, 0.0);
  require(0 <= momentum && momentum < 1, law, momentum, 1.0);
  require(weight_decay >= 0, "weight decay >= 0", weight_decay, 0.0);
}

struct muon {
  using axis = axes::optim;

  double lr = 1e-3;
  double momentum = 0.95;
  double weight_decay = 0.1;
  bool nesterov = true;

  template <class Be, class P>
  struct state {
    P m;
    template <class F>
    void for_each_moment(F f) {
      f(m);
    }
    template <class Archive>
    void archive(Archive& ar) {
      ar("m", m);
    }
  };

  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    static_assert(!trains<P>(parameter_role::gate) && !trains<P>(parameter_role::magnitude) &&
                      !trains<P>(parameter_role::bias),
                  "preheat: optim::muon moves matrices, and this adapter trains vectors; use "
                  "adapter::lora, adapter::asymmetric or adapter::xs");
    require_momentum_settings("optim::muon: 0 <= momentum < 1", lr, momentum, weight_decay);
    return {zeros_like(be, p)};
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    using T = scalar_of<Be>;
    for_each_trained(
        [&](auto parameter, mat<Be>& x, mat<Be>& g, mat<Be>& m) {
          be.apply(linalg::axpby<T>{1, T(momentum)}, m, g);
          if (nesterov) {
            be.apply(linalg::axpby<T>{T(momentum), 1}, g, m);
          }
          const mat<Be> direction = linalg::polar_factor<Be>(be, nesterov ? g : m);
          const double rate = context.rate(parameter.role);
          const double tall = std::sqrt(std::max(1.0, double(x.rows()) / double(x.cols())));
          const double kept = 1 - rate * weight_decay * context.decay(parameter.role);
          be.apply(linalg::axpby<T>{T(-rate * tall), T(kept)}, x, direction);
        },
        p, gradient, st.m);
  }
};

}  // namespace preheat::optim
