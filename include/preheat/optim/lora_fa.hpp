// LoRA-FA ("LoRA-FA: Memory-efficient Low-rank Adaptation for Large Language Models Fine-tuning",
// arXiv 2308.03303): A stays at its draw, B alone is trained. Update and defaults are those of
// create_lorafa_optimizer [PEFT]:
//
//   G ← s⁻²·G_B·(A·Aᵀ + δI)⁺, δ = 1e-8
//   m ← β₁·m + (1 − β₁)·G,   v ← β₂·v + (1 − β₂)·G²
//   B ← B − lr·√(1 − β₂ᵗ)/(1 − β₁ᵗ)·m/(√v + ε);   then   B ← (1 − lr·λ)·B
//
// ε = 1e-6 is added before the bias correction, and the decay comes after the step, unlike AdamW.
// G is the step of B whose effect s·G·A is nearest, in least squares, to the gradient of the whole
// weight. PEFT computes that product in bfloat16 for float32 models; here it is computed in the
// backend's scalar [preheat].
//
// Use it with adapter::asymmetric<parameter_role::B>, which freezes A and computes no gradient of it.
// With an adapter that trains A (adapter::lora), A stays the same too, bitwise, and has no moments;
// its gradient is then computed for nothing, and counts in the norm by which gradients are clipped.
// Other parameters (magnitudes, biases) take the same update without the projection [PEFT].
// Cost: O((m + n)·r² + r³) and a few small r×r allocations per step. State: two numbers per entry
// of B, and a workspace m×r.
#pragma once
#include <cmath>
#include <utility>

#include "../linalg/symmetric.hpp"
#include "adam.hpp"

namespace preheat::optim {

template <class T>
struct lora_fa_kernel {
  moment_update<T> update_moments;
  T epsilon;
  T rate;  // lr·√(1 − β₂ᵗ)/(1 − β₁ᵗ)
  T keep;  // 1 − lr·λ
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& p, V& m, V& v, const V& g) const {
    using math::sqrt;
    update_moments(m, v, g);
    p = keep * (p - rate * m / (sqrt(v) + epsilon));
  }
};

struct lora_fa {
  using axis = axes::optim;

  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-6;
  double weight_decay = 0;
  double delta = 1e-8;

  template <class Be, class P>
  struct state : adam_state<P> {  // m and v are empty for A
    mat<Be> work{};
  };

  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    static_assert(factor_pair<P> && trains<P>(parameter_role::B),
                  "preheat: optim::lora_fa trains B against a fixed A; use "
                  "adapter::asymmetric<parameter_role::B> (or adapter::lora, whose A then stays)");
    require_adam_settings(*this);
    require(delta >= 0, "optim::lora_fa: delta >= 0", delta, 0.0);
    state<Be, P> st;
    visit_moving(
        [&](auto, const mat<Be>& x, mat<Be>& m, mat<Be>& v) {
          m = be.zeros(x.rows(), x.cols());
          v = be.zeros(x.rows(), x.cols());
        },
        p, st.m, st.v);
    return st;
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    ++st.t;
    project(be, p.A, gradient.B, st.work, context.scaling);
    visit_moving(
        [&](auto parameter, mat<Be>& x, mat<Be>& g, mat<Be>& m, mat<Be>& v) {
          be.apply(kernel<scalar_of<Be>>(context, parameter.role, st.t), x, m, v, g);
        },
        p, gradient, st.m, st.v);
  }

 private:
  // Every trained parameter but A.
  template <class F, class P, class... Q>
  static void visit_moving(F f, P& p, Q&... q) {
    for_each_trained(
        [&](auto parameter, auto&... x) {
          if constexpr (parameter.role != parameter_role::A) {
            f(parameter, x...);
          }
        },
        p, q...);
  }
  // g ← s⁻²·g·(A·Aᵀ + δI)⁺
  template <backend Be>
  void project(Be& be, const_view_of<Be> A, mat<Be>& g, mat<Be>& work, double s) const {
    const mat<Be> inverse = linalg::damped_pinv(
        be, linalg::symmetric_eigen(be, linalg::gram(be, transpose::no, A)), delta);
    be.resize(work, g.rows(), g.cols());
    be.gemm(scalar_of<Be>(1 / (s * s)), transpose::no, g, transpose::no, inverse, 0, work);
    std::swap(work, g);
  }
  template <class T>
  lora_fa_kernel<T> kernel(const step_context& context, parameter_role kind, index_t t) const {
    const double rate = context.rate(kind);
    const double first = 1 - std::pow(beta1, double(t));
    const double second = 1 - std::pow(beta2, double(t));
    return {.update_moments = {T(beta1), T(beta2)},
            .epsilon = T(epsilon),
            .rate = T(rate * std::sqrt(second) / first),
            .keep = T(1 - rate * weight_decay * context.decay(kind))};
  }
};

}  // namespace preheat::optim
