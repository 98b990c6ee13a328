// LoFT (Tastan, Laskaridis, Takáč, Nandakumar, Horváth, "LoFT: Low-Rank Adaptation That Behaves Like Full
// Fine-Tuning", ICLR 2026, arXiv 2505.21289): AdamW of the product, seen through one factor at a time. For a
// factor X (m×r: B, or Aᵀ) whose partner is Y (r×n: A, or Bᵀ), with C = (Y·Yᵀ + δI)⁺ and the gradient G_X,
//
//   g = G_X·C,   R = Y'·Yᵀ·C with the partner Y' of the step before
//   M ← β₁·M·R + (1 − β₁)·g,   P_i ← β₂·Rᵀ·P_i·R + (1 − β₂)·g_iᵀ·g_i  for every row i (r×r)
//   U = M̂·Y,   V_ij = Y_jᵀ·P̂_i·Y_j (Y_j a column),   X ← (1 − η·λ)·X − η·(U/(√V + ε))·Yᵀ·C
//
// M·Y and V are the moments of the gradient's part that the partner lets through, in its present rows. B and A
// move in turn, B first (`alternate`), and all moments are updated in every step. Where Y is square and
// regular a step of B·A is AdamW's step of W, so the paper has no α: use scaling::constant(1).
//
// As in the code that "Learning Rate Matters" (arXiv 2602.04998) carries: ε 1e-4, δ 1e-8 for A·Aᵀ and 1e-6
// for Bᵀ·B. Two things there are other: P_i is turned as R·P_i·Rᵀ, which does not keep the moments of a square
// pair, and λ is not multiplied by η. It also clips the norm of all projected gradients of the network, which an
// optimizer of one layer cannot. [preheat] A change of rank starts the moments afresh.
//
// Cost per step: 2·m·n·(r² + r) operations and m·n numbers for each factor that moves, as if W were formed.
// State: r² + r numbers per row of B and column of A, and the pair. Errors: an adapter that does not
// train a plain pair (A, B).
#pragma once
#include <cmath>
#include <utility>

#include "../linalg/symmetric.hpp"
#include "adam.hpp"

namespace preheat::optim {

// u = u·c₁/(√(v·c₂) + ε), v a square up to rounding
template <class T>
struct corrected_quotient {
  T first, second, epsilon;
  constexpr void operator()(T& u, const T& v) const {
    u = u * first / (std::sqrt(v > 0 ? v * second : T(0)) + epsilon);
  }
};

struct loft {
  using axis = axes::optim;

  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-4;
  double weight_decay = 0.01;
  double damping_a = 1e-8;  // δ of A·Aᵀ
  double damping_b = 1e-6;  // δ of Bᵀ·B
  bool alternate = true;

  template <class Be>
  struct factor_state {
    mat<Be> m, products;  // M m×r, and [P_·1 … P_·r] m×r²: row i of block k is row k of P_i
    mat<Be> partner;      // of the last step
    template <class Archive>
    void archive(Archive& ar) {
      ar("m", m);
      ar("products", products);
      ar("partner", partner);
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
                  "preheat: optim::loft moves a pair (A, B) and nothing else; use adapter::lora");
    require_adam_settings(*this);
    require(damping_a >= 0 && damping_b >= 0, "optim::loft: damping >= 0", damping_a, damping_b);
    return {};
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    if (st.b.m.cols() != p.B.cols()) {
      st = {};
    }
    ++st.t;
    mat<Be> At = linalg::transposed<Be>(be, p.A);
    const mat<Be> Bt = linalg::transposed<Be>(be, p.B);
    const mat<Be> inverse_a = inverse_gram(be, p.A, damping_a);
    const mat<Be> inverse_b = inverse_gram(be, Bt, damping_b);
    const mat<Be> gradient_a = linalg::transposed<Be>(be, gradient.A);
    follow<Be>(be, gradient.B, p.A, inverse_a, st.b);
    follow<Be>(be, gradient_a, Bt, inverse_b, st.a);
    const bool b_moves = !alternate || st.t % 2 == 1;
    const bool a_moves = !alternate || st.t % 2 == 0;
    if (b_moves) {  // A is still that of before the step
      move<Be>(be, p.B, p.A, inverse_a, st.b, st.t, context, parameter_role::B);
    }
    if (a_moves) {
      move<Be>(be, At, Bt, inverse_b, st.a, st.t, context, parameter_role::A);
      be.copy(transpose::yes, At, p.A);
    }
  }

 private:
  template <backend Be>
  static mat<Be> inverse_gram(Be& be, const mat<Be>& Y, double damping) {
    return linalg::damped_pinv(
        be, linalg::symmetric_eigen<Be>(be, linalg::gram<Be>(be, transpose::no, Y)), damping);
  }
  // The moments of a factor with gradient G (m×r), in the rows of its partner Y.
  template <backend Be>
  void follow(Be& be, const mat<Be>& G, const mat<Be>& Y, const mat<Be>& inverse,
              factor_state<Be>& st) const {
    using T = scalar_of<Be>;
    const index_t m = G.rows(), r = G.cols();
    const mat<Be> g = linalg::product<Be>(be, transpose::no, G, transpose::no, inverse);
    if (st.m.rows() == 0) {
      st.m = be.zeros(m, r);
      st.products = be.zeros(m, r * r);
    } else {
      const mat<Be> met = linalg::product<Be>(be, transpose::no, st.partner, transpose::yes, Y);
      const mat<Be> R = linalg::product<Be>(be, transpose::no, met, transpose::no, inverse);
      st.m = linalg::product<Be>(be, transpose::no, st.m, transpose::no, R);
      st.products = turned(be, turned(be, st.products, R), R);
    }
    st.partner = clone<Be>(be, Y);
    be.apply(linalg::axpby<T>{T(1 - beta1), T(beta1)}, st.m, g);
    for (index_t k = 0; k < r; ++k) {
      mat<Be> outer = clone<Be>(be, g);
      be.scale_rows(view(g).col_range(k, 1), outer);
      be.apply(linalg::axpby<T>{T(1 - beta2), T(beta2)}, view(st.products).col_range(k * r, r),
               outer);
    }
  }
  // Row i of the result has (P_i·R)ᵀ for P_i; twice gives Rᵀ·P_i·R for a symmetric P_i.
  template <backend Be>
  static mat<Be> turned(Be& be, const mat<Be>& products, const mat<Be>& R) {
    const index_t m = products.rows(), r = R.rows();
    mat<Be> result = be.zeros(m, r * r);
    mat<Be> block = be.zeros(m, r);
    for (index_t k = 0; k < r; ++k) {
      be.gemm(1, transpose::no, view(products).col_range(k * r, r), transpose::no, R, 0, block);
      for (index_t l = 0; l < r; ++l) {
        be.copy(transpose::no, view(block).col_range(l, 1), view(result).col_range(l * r + k, 1));
      }
    }
    return result;
  }
  template <backend Be>
  void move(Be& be, view_of<Be> X, const mat<Be>& Y, const mat<Be>& inverse,
            const factor_state<Be>& st, index_t t, const step_context& context,
            parameter_role role) const {
    using T = scalar_of<Be>;
    const index_t r = Y.rows(), n = Y.cols();
    mat<Be> pairs = be.zeros(r * r, n);  // row k·r + l: Y_k ⊙ Y_l
    const mat<Be> Yt = linalg::transposed<Be>(be, Y);
    for (index_t k = 0; k < r; ++k) {
      const auto block = view(pairs).row_range(k * r, r);
      be.copy(transpose::no, Y, block);
      be.scale_cols(view(Yt).col_range(k, 1), block);
    }
    const mat<Be> V = linalg::product<Be>(be, transpose::no, st.products, transpose::no, pairs);
    mat<Be> U = linalg::product<Be>(be, transpose::no, st.m, transpose::no, Y);
    be.apply(corrected_quotient<T>{T(1 / (1 - std::pow(beta1, double(t)))),
                                   T(1 / (1 - std::pow(beta2, double(t)))), T(epsilon)},
             U, V);
    const mat<Be> seen = linalg::product<Be>(be, transpose::no, U, transpose::yes, Y);
    const double rate = context.rate(role);
    be.gemm(T(-rate), transpose::no, seen, transpose::no, inverse,
            T(1 - rate * weight_decay * context.decay(role)), X);
  }
};

}  // namespace preheat::optim
