// LoRA-Pro (Wang, Liang, He, Wang, Tan, "LoRA-Pro: Are Low-Rank Adapters Properly Optimized?",
// arXiv 2407.18242): steps of the two factors whose joint effect on W is as near as a pair can come
// to the step of full fine-tuning. With G = ∂L/∂W, G_A = s·Bᵀ·G, G_B = s·G·Aᵀ,
//
//   h_A = s⁻²·(BᵀB)⁻¹·G_A + X·A,   h_B = s⁻²·(I − P_B)·G_B·(AAᵀ)⁻¹ − B·X,   P_B = B·(BᵀB)⁻¹·Bᵀ
//   BᵀB·X + X·AAᵀ = −s⁻²·(BᵀB)⁻¹·G_A·Aᵀ
//
// so that s·B·h_A + s·h_B·A = G − (I − P_B)·G·(I − P_A) for any X; this X makes h nearest to the
// plain gradient. Sylvester's equation is solved by the eigendecompositions of BᵀB and AAᵀ, which
// also give the inverses, damped: (· + δI)⁺. From B = 0: h_A = 0, X = 0, and the effect is G·P_A.
//
//   lora_pro<sgd>    the paper's SGD. State: none.
//   lora_pro<adamw>  h_A and h_B go through AdamW, factor by factor (a third party's variant, in
//                    use for its O((m + n)·r) state). From B = 0 the first h_A is huge and the
//                    second moment remembers it: `plain_steps` (ours) trains with the plain
//                    gradient for so many steps, then starts the moments afresh.
//   lora_pro_adamw   (lora_pro_adamw.hpp) the paper's AdamW: moments in m×n space.
//
// Cost: O((m + n)·r² + r³) a step. Beside the base's state: a workspace of (m + n)·r numbers.
#pragma once
#include <utility>

#include "../linalg/symmetric.hpp"
#include "adam.hpp"

namespace preheat::optim {

namespace detail {

// What LoRA-Pro needs of a pair, and room for its products.
template <class Be>
struct pair_geometry {
  eigh_result<mat<Be>> a;  // of AAᵀ
  eigh_result<mat<Be>> b;  // of BᵀB
  mat<Be> inverse_a;       // (AAᵀ + δI)⁺
  mat<Be> inverse_b;       // (BᵀB + δI)⁺
  mat<Be> work_a;          // r×n
  mat<Be> work_b;          // m×r
};

template <class P>
consteval bool is_trained_pair() {
  static_assert(factor_pair<P>,
                "preheat: optim::lora_pro moves a pair (A, B) together; use adapter::lora");
  static_assert(!factor_pair<P> || (trains<P>(role::A) && trains<P>(role::B)),
                "preheat: optim::lora_pro moves both factors; with one frozen use optim::scaled");
  return true;
}

template <backend Be, class P>
void measure_pair(Be& be, const P& p, double delta, pair_geometry<Be>& pair) {
  pair.a = linalg::symmetric_eigen<Be>(be, linalg::gram<Be>(be, op::none, p.A));
  pair.b = linalg::symmetric_eigen<Be>(be, linalg::gram<Be>(be, op::trans, p.B));
  pair.inverse_a = linalg::damped_pinv(be, pair.a, delta);
  pair.inverse_b = linalg::damped_pinv(be, pair.b, delta);
}

// (G_A, G_B) becomes (h_A, h_B).
template <backend Be, class P>
void to_equivalent_steps(Be& be, const P& p, P& gradient, double s, pair_geometry<Be>& pair) {
  const scalar_of<Be> factor = scalar_of<Be>(1 / (s * s));
  mat<Be>& h_a = pair.work_a;
  be.resize(h_a, gradient.A.rows(), gradient.A.cols());
  be.gemm(factor, op::none, pair.inverse_b, op::none, gradient.A, 0, h_a);
  const mat<Be> right = linalg::product<Be>(be, op::none, h_a, op::trans, p.A, -1);
  mat<Be> X = linalg::solve_sylvester<Be>(be, pair.b, pair.a, right);
  be.gemm(1, op::none, X, op::none, p.A, 1, h_a);

  mat<Be>& h_b = pair.work_b;
  be.resize(h_b, gradient.B.rows(), gradient.B.cols());
  be.gemm(factor, op::none, gradient.B, op::none, pair.inverse_a, 0, h_b);
  const mat<Be> inside = linalg::product<Be>(be, op::trans, p.B, op::none, h_b);
  be.gemm(1, op::none, pair.inverse_b, op::none, inside, 1, X);  // now P_B·h_B + B·X = B·(this)
  be.gemm(-1, op::none, p.B, op::none, X, 1, h_b);
  std::swap(gradient.A, h_a);
  std::swap(gradient.B, h_b);
}

}  // namespace detail

template <class Base = adamw>
struct lora_pro {
  using axis = axes::optim;
  using hooks = hook_list<>;

  Base base{};
  double delta = 1e-8;      // published
  index_t plain_steps = 0;  // ours: first steps with the plain gradient

  template <class Be, class P>
  struct state {
    static_assert(detail::is_trained_pair<P>());
    typename Base::template state<Be, P> base;
    index_t t = 0;
    detail::pair_geometry<Be> pair{};
    template <class F>
    void each(F f) {
      base.each(f);
    }
    template <class Archive>
    void archive(Archive& ar) {
      ar("t", t);
      ar("base", base);
    }
  };

  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    require(delta >= 0, "optim::lora_pro: delta >= 0", delta, 0.0);
    require(plain_steps >= 0, "optim::lora_pro: plain_steps >= 0", plain_steps, 0);
    return {base.start(be, p)};
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    if (st.t == plain_steps && plain_steps > 0) {
      st.base = base.start(be, p);
    }
    if (st.t++ >= plain_steps) {
      detail::measure_pair(be, p, delta, st.pair);
      detail::to_equivalent_steps(be, p, gradient, context.scaling, st.pair);
    }
    base.step(be, p, gradient, st.base, context);
  }
};

}  // namespace preheat::optim
