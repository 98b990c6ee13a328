// LoRA-Pro's AdamW (arXiv 2407.18242, see lora_pro.hpp for h_A, h_B and X): Adam's moments are those
// of the equivalent gradient, in m×n space.
//
//   ĝ = s·(B·h_A + h_B·A),   M, V ← Adam's moments of ĝ,   U = M̂/(√V̂ + ε)
//   G_A' = s·Bᵀ·U,  G_B' = s·U·Aᵀ;  h_A', h_B' of these;   A ← (1 − lr·λ)·A − lr·h_A', B likewise
//
// The moments belong to W, not to the pair, so a change of rank keeps them.
// Memory per layer: three m×n buffers (M, V and U), three times a full gradient [paper], and a
// workspace of (m + n)·r numbers; `memory` gives the sum. Cost: O(m·n·r) per step.
// The weight decay, decoupled and on the factors, is an addition [preheat].
#pragma once
#include "lora_pro.hpp"

namespace preheat::optim {

// x = the direction of Adam's step for the gradient x.
template <class T>
struct adam_direction_kernel {
  moment_update<T> update_moments;
  T epsilon;
  T correction1;  // 1/(1 − β₁ᵗ)
  T correction2;  // 1/(1 − β₂ᵗ)
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& x, V& m, V& v) const {
    using math::sqrt;
    update_moments(m, v, x);
    x = correction1 * m / (sqrt(correction2 * v) + epsilon);
  }
};

struct lora_pro_adamw {
  using axis = axes::optim;

  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  double delta = 1e-8;  // [paper]

  // The numbers that the state of one m×n layer at rank r holds, small r×r ones aside.
  static constexpr index_t memory(index_t m, index_t n, index_t r) {
    return 3 * m * n + (m + n) * r;
  }

  template <class Be, class P>
  struct state : adam_state<mat<Be>> {  // moments of ĝ, m×n
    static_assert(detail::is_trained_pair<P>());
    static_assert(!has_role<P>(parameter_role::magnitude) && !has_role<P>(parameter_role::bias),
                  "preheat: optim::lora_pro_adamw steps a pair (A, B) and nothing else; use "
                  "adapter::lora");
    mat<Be> direction;  // ĝ, then U
    detail::pair_geometry<Be> pair{};
    template <class F>
    void for_each_moment(F) {}  // they are m×n at every rank
  };

  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    require_adam_settings(*this);
    require(delta >= 0, "optim::lora_pro_adamw: delta >= 0", delta, 0.0);
    const index_t rows = p.B.rows();
    const index_t cols = p.A.cols();
    return {{be.zeros(rows, cols), be.zeros(rows, cols)}, be.zeros(rows, cols)};
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    using T = scalar_of<Be>;
    const T s = T(context.scaling);
    ++st.t;
    detail::measure_pair(be, p, delta, st.pair);
    detail::to_equivalent_steps(be, p, gradient, context.scaling, st.pair);
    be.gemm(s, transpose::no, p.B, transpose::no, gradient.A, 0, st.direction);
    be.gemm(s, transpose::no, gradient.B, transpose::no, p.A, 1, st.direction);
    be.apply(direction_kernel<T>(st.t), st.direction, st.m, st.v);

    be.gemm(s, transpose::yes, p.B, transpose::no, st.direction, 0, gradient.A);
    be.gemm(s, transpose::no, st.direction, transpose::yes, p.A, 0, gradient.B);
    detail::to_equivalent_steps(be, p, gradient, context.scaling, st.pair);
    for_each_trained(
        [&](auto parameter, mat<Be>& x, mat<Be>& h) {
          const double rate = context.rate(parameter.role);
          const double keep = 1 - rate * weight_decay * context.decay(parameter.role);
          be.apply(linalg::axpby<T>{T(-rate), T(keep)}, x, h);
        },
        p, gradient);
  }

 private:
  template <class T>
  adam_direction_kernel<T> direction_kernel(index_t t) const {
    return {.update_moments = {T(beta1), T(beta2)},
            .epsilon = T(epsilon),
            .correction1 = T(1 / (1 - std::pow(beta1, double(t)))),
            .correction2 = T(1 / (1 - std::pow(beta2, double(t))))};
  }
};

}  // namespace preheat::optim
