// The scaled gradient of a pair (A, B), before any optimizer: scaled gradient descent (Tong, Ma,
// Chi, arXiv 2005.08898), for LoRA "Riemannian preconditioned" (Zhang, Pilanci, arXiv 2402.02347).
//
//   G_A ← (BᵀB + δI)⁺·G_A,   G_B ← G_B·(AAᵀ + δI)⁺,   both from the values before the step
//
// With SGD and δ = 0 the step of the product B·A is the same for every split of it into factors
// (B·M, M⁻¹·A). A frozen factor is left alone: with A frozen this is RAC-LoRA's preconditioner. From
// B = 0 the gradient of A is zero and stays zero; there δ = 0 uses the pseudoinverse. δ = 0 is the
// default [preheat]; 1e-2 [PEFT].
// Cost: O((m + n)·r² + r³) per step. State: the base's, and a workspace in the shape of the pair.
#pragma once
#include <utility>

#include "../linalg/symmetric.hpp"
#include "sgd.hpp"

namespace preheat::optim {

// Room for both gradients, each in the shape of its factor.
template <class Be>
struct pair_workspace {
  mat<Be> a, b;
};

template <class Base = sgd>
struct scaled {
  using axis = axes::optim;

  Base base{};
  double delta = 0;

  template <class Be, class P>
  struct state : decorated_state<Base, Be, P, pair_workspace<Be>> {
    static_assert(factor_pair<P>,
                  "preheat: optim::scaled preconditions a pair (A, B); use an adapter that holds "
                  "one: adapter::lora or adapter::asymmetric");
  };

  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    require(delta >= 0, "optim::scaled: delta >= 0", delta, 0.0);
    return {{base.start(be, p)}};
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    if constexpr (trains<P>(parameter_role::A)) {
      const mat<Be> inverse = inverse_gram(be, transpose::yes, p.B);
      be.resize(st.work.a, gradient.A.rows(), gradient.A.cols());
      be.gemm(1, transpose::no, inverse, transpose::no, gradient.A, 0, st.work.a);
      std::swap(st.work.a, gradient.A);
    }
    if constexpr (trains<P>(parameter_role::B)) {
      const mat<Be> inverse = inverse_gram(be, transpose::no, p.A);
      be.resize(st.work.b, gradient.B.rows(), gradient.B.cols());
      be.gemm(1, transpose::no, gradient.B, transpose::no, inverse, 0, st.work.b);
      std::swap(st.work.b, gradient.B);
    }
    base.step(be, p, gradient, st.base, context);
  }

 private:
  template <backend Be>
  mat<Be> inverse_gram(Be& be, transpose t, const_view_of<Be> factor) const {
    return linalg::damped_pinv(be, linalg::symmetric_eigen(be, linalg::gram(be, t, factor)), delta);
  }
};

}  // namespace preheat::optim
