// LoRA-RITE ("LoRA Done RITE: Robust Invariant Transformation Equilibration for LoRA Optimization", ICLR 2025,
// arXiv 2410.20625): Adam with a matrix for the second moment of each factor, in coordinates that no other
// split of B·A into factors changes. With B = Q_B·R_B and Aᵀ = Q_A·R_A,
//
//   Ĝ_A = G_Aᵀ·R_B⁻¹ (n×r),  Ĝ_B = G_B·R_A⁻¹ (m×r)            "unmagnified" gradients
//   V_A ← β₂'·P·V_A·Pᵀ + (1 − β₂')·Ĝ_AᵀĜ_A/n,   P = Q_Bᵀ·Q_B of the step before   (V_B: Ĝ_B, m, Q_A)
//   M_A ← β₁'·M_A·Pᵀ + (1 − β₁')·Ĝ_A·V_A^−½
//   Aᵀ ← Aᵀ − lr·(M_A·R_B⁻ᵀ + λ·Aᵀ),   B ← B − lr·(M_B·R_A⁻ᵀ + λ·B)
//
// β' = β·(1 − β^(t−1))/(1 − β^t) is Adam's bias correction. A root is 1/(√v + ε). As in an
// author's code (github.com/gkevinyen5418/LoRA-RITE), with its defaults β .9/.999, ε 1e-6, and
// `skip_above` 1: an unmagnified gradient whose root mean square is above is taken as zero (0:
// never). The code also clips the norm of all unmagnified gradients of the network to 1, which
// an optimizer of one layer cannot; the option of "escaped mass", off there, is not here. R⁻¹ is
// a pseudoinverse: from B = 0 the first step moves B alone. [preheat] A change of rank starts
// the moments afresh.
//
// Cost: O((m + n)·r² + r³) per step. State: two numbers per entry, and 2·r².
// Errors: an adapter that does not train a plain pair (A, B).
#pragma once
#include <cmath>
#include <limits>
#include <utility>

#include "../linalg/polar.hpp"

namespace preheat::optim {

// x = 1/(√x + ε) for x > 0, else 1/ε
template <class T>
struct inverse_root_plus {
  T epsilon;
  constexpr void operator()(T& x) const { x = 1 / (std::sqrt(x > 0 ? x : T(0)) + epsilon); }
};

struct lora_rite {
  using axis = axes::optim;

  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-6;
  double weight_decay = 0;
  double skip_above = 1;

  template <class Be>
  struct factor_state {
    mat<Be> m, v;   // M: like the factor, ranks in the columns; V: r×r
    mat<Be> basis;  // of the other factor at the last step
    template <class Archive>
    void archive(Archive& ar) {
      ar("m", m);
      ar("v", v);
      ar("basis", basis);
    }
  };
  template <class Be, class P>
  struct state {
    factor_state<Be> a, b;
    index_t t = 0;
    template <class F>
    void for_each_moment(F) {}
    template <class Archive>
    void archive(Archive& ar) {
      ar("t", t);
      ar("a", a);
      ar("b", b);
    }
  };

  template <backend Be, class P>
  state<Be, P> start(Be&, const P&) const {
    static_assert(trained_pair<P>,
                  "preheat: optim::lora_rite moves a pair (A, B) and nothing else; use "
                  "adapter::lora");
    require(lr >= 0, "learning rate >= 0", lr, 0.0);
    require(0 <= beta1 && beta1 < 1 && 0 <= beta2 && beta2 < 1, "0 <= beta1, beta2 < 1", beta1,
            beta2);
    require(epsilon > 0, "optim::lora_rite: epsilon > 0", epsilon, 0.0);
    require(weight_decay >= 0 && skip_above >= 0, "weight decay, skip_above >= 0", weight_decay,
            skip_above);
    return {};
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    mat<Be> At = linalg::transposed<Be>(be, p.A);
    const qr_result<mat<Be>> of_a = be.qr(At);
    const qr_result<mat<Be>> of_b = be.qr(p.B);
    if (st.a.v.rows() != p.A.rows()) {
      st = {};
    }
    ++st.t;
    const mat<Be> a = direction(be, linalg::transposed<Be>(be, gradient.A), of_b, st.a, st.t);
    const mat<Be> b = direction(be, clone<Be>(be, gradient.B), of_a, st.b, st.t);
    move(be, At, a, context, parameter_role::A);
    be.copy(transpose::yes, At, p.A);
    move(be, p.B, b, context, parameter_role::B);
  }

 private:
  // β' of step t, counted from 1.
  static double corrected(double beta, index_t t) {
    return beta * (1 - std::pow(beta, double(t - 1))) / (1 - std::pow(beta, double(t)));
  }

  // M·R⁻ᵀ of a factor with gradient G (rows×r), where the other one is Q·R.
  template <backend Be>
  mat<Be> direction(Be& be, mat<Be> G, const qr_result<mat<Be>>& other, factor_state<Be>& st,
                    index_t t) const {
    using T = scalar_of<Be>;
    const mat<Be> inverse = pseudoinverse(be, other.R);
    mat<Be> u = linalg::product<Be>(be, transpose::no, G, transpose::no, inverse);
    const double count = double(u.rows() * u.cols());
    if (skip_above > 0 && std::sqrt(double(be.dot(u, u)) / count) > skip_above) {
      be.fill(0, u);
    }
    mat<Be> v = linalg::gram<Be>(be, transpose::yes, u);
    const double b1 = corrected(beta1, t), b2 = corrected(beta2, t);
    be.apply(linalg::scale<T>{T((1 - b2) / double(u.rows()))}, v);
    mat<Be> P;
    if (t > 1) {
      P = linalg::product<Be>(be, transpose::yes, other.Q, transpose::no, st.basis);
      const mat<Be> turned = linalg::product<Be>(be, transpose::no, P, transpose::no, st.v);
      be.gemm(T(b2), transpose::no, turned, transpose::yes, P, 1, v);
    }
    eigh_result<mat<Be>> e = linalg::symmetric_eigen<Be>(be, v);
    be.apply(inverse_root_plus<T>{T(epsilon)}, e.values);
    mat<Be> scaled = clone<Be>(be, e.vectors);
    be.scale_cols(e.values, scaled);
    const mat<Be> root = linalg::product<Be>(be, transpose::no, scaled, transpose::yes, e.vectors);
    mat<Be> m = linalg::product<Be>(be, transpose::no, u, transpose::no, root, T(1 - b1));
    if (t > 1) {
      be.gemm(T(b1), transpose::no, st.m, transpose::yes, P, 1, m);
    }
    st = {std::move(m), std::move(v), clone<Be>(be, other.Q)};
    return linalg::product<Be>(be, transpose::no, st.m, transpose::yes, inverse);
  }
  // R⁺ of a small matrix; singular values not above r·ε·(the largest) count as zero.
  template <backend Be>
  static mat<Be> pseudoinverse(Be& be, const mat<Be>& R) {
    using T = scalar_of<Be>;
    svd_result<mat<Be>> d = be.svd(R);
    const T cutoff = T(R.rows()) * std::numeric_limits<T>::epsilon() * be.max_abs(d.S);
    be.apply(linalg::damped_inverse<T>{0, cutoff}, d.S);
    be.scale_cols(d.S, d.V);
    return linalg::product<Be>(be, transpose::no, d.V, transpose::yes, d.U);
  }
  template <backend Be>
  void move(Be& be, view_of<Be> x, const_view_of<Be> direction, const step_context& context,
            parameter_role role) const {
    using T = scalar_of<Be>;
    const double rate = context.rate(role);
    be.apply(linalg::axpby<T>{T(-rate), T(1 - rate * weight_decay * context.decay(role))}, x,
             direction);
  }
};

}  // namespace preheat::optim
