// The scaled gradient of a pair (A, B), before any optimizer: scaled gradient descent (Tong, Ma,
// Chi, arXiv 2005.08898), for LoRA "Riemannian preconditioned" (Zhang, Pilanci, arXiv 2402.02347).
//
//   G_A ← (BᵀB + δI)⁺·G_A,   G_B ← G_B·(AAᵀ + δI)⁺,   both from the values before the step
//
// With SGD and δ = 0 the product B·A moves alike for every split of it into factors (B·M, M⁻¹·A).
// A frozen factor is left alone: with A frozen it is RAC-LoRA's preconditioner. From B = 0 the
// gradient of A is zero and stays so; δ = 0 uses the pseudoinverse there. PEFT: δ = 1e-2.
// Cost: O((m + n)·r² + r³) a step. State: the base's, and a workspace of the shape of the pair.
#pragma once
#include <utility>

#include "../linalg/symmetric.hpp"
#include "sgd.hpp"

namespace preheat::optim {

template <class Base = sgd>
struct scaled {
  using axis = axes::optim;
  using hooks = hook_list<>;

  Base base{};
  double delta = 0;

  template <class Be, class P>
  struct state {
    static_assert(factor_pair<P>,
                  "preheat: optim::scaled preconditions a pair (A, B); use an adapter that holds "
                  "one: adapter::lora or adapter::asymmetric");
    typename Base::template state<Be, P> base;
    mat<Be> work_a{}, work_b{};
    template <class F>
    void each(F f) {
      base.each(f);
    }
    template <class Archive>
    void archive(Archive& ar) {
      ar("base", base);
    }
  };

  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    require(delta >= 0, "optim::scaled: delta >= 0", delta, 0.0);
    return {base.start(be, p)};
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    if constexpr (trains<P>(role::A)) {
      const mat<Be> inverse = inverse_gram<Be>(be, op::trans, p.B);
      be.resize(st.work_a, gradient.A.rows(), gradient.A.cols());
      be.gemm(1, op::none, inverse, op::none, gradient.A, 0, st.work_a);
      std::swap(st.work_a, gradient.A);
    }
    if constexpr (trains<P>(role::B)) {
      const mat<Be> inverse = inverse_gram<Be>(be, op::none, p.A);
      be.resize(st.work_b, gradient.B.rows(), gradient.B.cols());
      be.gemm(1, op::none, gradient.B, op::none, inverse, 0, st.work_b);
      std::swap(st.work_b, gradient.B);
    }
    base.step(be, p, gradient, st.base, context);
  }

 private:
  template <backend Be>
  mat<Be> inverse_gram(Be& be, op t, in<Be> factor) const {
    return linalg::damped_pinv(be, linalg::symmetric_eigen<Be>(be, linalg::gram(be, t, factor)),
                               delta);
  }
};

}  // namespace preheat::optim
