// LoRA-Pro's AdamW (arXiv 2407.18242, see lora_pro.hpp for h_A, h_B and X): Adam's moments are those
// of the equivalent gradient, in m×n space.
//
//   ĝ = s·(B·h_A + h_B·A),   M, V ← Adam's moments of ĝ,   U = M̂/(√V̂ + ε)
//   G_A' = s·Bᵀ·U,  G_B' = s·U·Aᵀ;  h_A', h_B' of these;   A ← (1 − lr·λ)·A − lr·h_A', B likewise
//
// The moments belong to W, not to the pair: they outlive a change of rank.
// Memory: three m×n buffers a layer (M, V and U) and a workspace of (m + n)·r, `memory` says it;
// three times a full gradient, the price of the paper's variant. Cost: O(m·n·r) a step.
// Weight decay, decoupled and on the factors, is ours.
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
  template <class V>
  constexpr void operator()(V& x, V& m, V& v) const {
    using math::sqrt;
    update_moments(m, v, x);
    x = correction1 * m / (sqrt(correction2 * v) + epsilon);
  }
};

struct lora_pro_adamw {
  using axis = axes::optim;
  using hooks = hook_list<>;

  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  double delta = 1e-8;  // published

  // The numbers that the state of one m×n layer at rank r holds, small r×r ones aside.
  static constexpr index_t memory(index_t m, index_t n, index_t r) {
    return 3 * m * n + (m + n) * r;
  }

  template <class Be, class P>
  struct state {
    static_assert(detail::is_trained_pair<P>());
    static_assert(!has_role<P>(role::magnitude) && !has_role<P>(role::bias),
                  "preheat: optim::lora_pro_adamw steps a pair (A, B) and nothing else; use "
                  "adapter::lora");
    mat<Be> m, v;       // moments of ĝ, m×n
    mat<Be> direction;  // ĝ, then U
    index_t t = 0;
    detail::pair_geometry<Be> pair{};
    template <class F>
    void each(F) {}
    template <class Archive>
    void archive(Archive& ar) {
      ar("t", t);
      ar("m", m);
      ar("v", v);
    }
  };

  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    require_adam_settings(*this);
    require(delta >= 0, "optim::lora_pro_adamw: delta >= 0", delta, 0.0);
    const index_t rows = p.B.rows();
    const index_t cols = p.A.cols();
    return {be.zeros(rows, cols), be.zeros(rows, cols), be.zeros(rows, cols)};
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    using T = scalar_of<Be>;
    const T s = T(context.scaling);
    ++st.t;
    detail::measure_pair(be, p, delta, st.pair);
    detail::to_equivalent_steps(be, p, gradient, context.scaling, st.pair);
    be.gemm(s, op::none, p.B, op::none, gradient.A, 0, st.direction);
    be.gemm(s, op::none, gradient.B, op::none, p.A, 1, st.direction);
    be.each(direction_kernel<T>(st.t), st.direction, st.m, st.v);

    be.gemm(s, op::trans, p.B, op::none, st.direction, 0, gradient.A);
    be.gemm(s, op::none, st.direction, op::trans, p.A, 0, gradient.B);
    detail::to_equivalent_steps(be, p, gradient, context.scaling, st.pair);
    visit(
        [&](auto part, mat<Be>& x, mat<Be>& h) {
          const double rate = context.rate(part.kind);
          const double keep = 1 - rate * weight_decay * context.decay(part.kind);
          be.each(linalg::axpby<T>{T(-rate), T(keep)}, x, h);
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
