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
//   lora_pro<sgd>    SGD [paper]. State: none.
//   lora_pro<adamw>  h_A and h_B go through AdamW, factor by factor (a third party's variant, in
//                    use for its O((m + n)·r) state). From B = 0 the first h_A is huge and stays
//                    in the second moment for long; with `plain_steps` the first steps take the
//                    plain gradient, and the moments then start afresh [preheat].
//   lora_pro_adamw   (lora_pro_adamw.hpp) AdamW with moments in m×n space [paper].
//
// Cost: O((m + n)·r² + r³) per step. State: the base's, and a workspace of (m + n)·r numbers.
#pragma once
#include <utility>

#include "../linalg/symmetric.hpp"
#include "adam.hpp"

namespace preheat::optim {

namespace detail {

// What LoRA-Pro computes from a pair, and workspaces for its products.
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
  static_assert(!factor_pair<P> || (trains<P>(parameter_role::A) && trains<P>(parameter_role::B)),
                "preheat: optim::lora_pro moves both factors; with one frozen use optim::scaled");
  return true;
}

template <backend Be, class P>
void measure_pair(Be& be, const P& p, double delta, pair_geometry<Be>& pair) {
  pair.a = linalg::symmetric_eigen(be, linalg::gram(be, transpose::no, p.A));
  pair.b = linalg::symmetric_eigen(be, linalg::gram(be, transpose::yes, p.B));
  pair.inverse_a = linalg::damped_pinv(be, pair.a, delta);
  pair.inverse_b = linalg::damped_pinv(be, pair.b, delta);
}

// (G_A, G_B) becomes (h_A, h_B).
template <backend Be, class P>
void to_equivalent_steps(Be& be, const P& p, P& gradient, double s, pair_geometry<Be>& pair) {
  const scalar_of<Be> factor = scalar_of<Be>(1 / (s * s));
  mat<Be>& h_a = pair.work_a;
  be.resize(h_a, gradient.A.rows(), gradient.A.cols());
  be.gemm(factor, transpose::no, pair.inverse_b, transpose::no, gradient.A, 0, h_a);
  const mat<Be> right = linalg::product(be, transpose::no, h_a, transpose::yes, p.A, -1);
  mat<Be> X = linalg::solve_sylvester(be, pair.b, pair.a, right);
  be.gemm(1, transpose::no, X, transpose::no, p.A, 1, h_a);

  mat<Be>& h_b = pair.work_b;
  be.resize(h_b, gradient.B.rows(), gradient.B.cols());
  be.gemm(factor, transpose::no, gradient.B, transpose::no, pair.inverse_a, 0, h_b);
  const mat<Be> inside = linalg::product(be, transpose::yes, p.B, transpose::no, h_b);
  be.gemm(1, transpose::no, pair.inverse_b, transpose::no, inside, 1,
          X);  // now P_B·h_B + B·X = B·(this)
  be.gemm(-1, transpose::no, p.B, transpose::no, X, 1, h_b);
  std::swap(gradient.A, h_a);
  std::swap(gradient.B, h_b);
}

}  // namespace detail

template <class Base = adamw>
struct lora_pro {
  using axis = axes::optim;

  Base base{};
  double delta = 1e-8;      // [paper]
  index_t plain_steps = 0;  // first steps with the plain gradient [preheat]

  template <class Be, class P>
  struct state : decorated_state<Base, Be, P, detail::pair_geometry<Be>> {
    static_assert(detail::is_trained_pair<P>());
    index_t t = 0;
    template <class Archive>
    void archive(Archive& ar) {
      ar("t", t);
      decorated_state<Base, Be, P, detail::pair_geometry<Be>>::archive(ar);
    }
  };

  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    require(delta >= 0, "optim::lora_pro: delta >= 0", delta, 0.0);
    require(plain_steps >= 0, "optim::lora_pro: plain_steps >= 0", plain_steps, 0);
    return {{base.start(be, p)}};
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    if (st.t == plain_steps && plain_steps > 0) {
      st.base = base.start(be, p);
    }
    if (st.t++ >= plain_steps) {
      detail::measure_pair(be, p, delta, st.work);
      detail::to_equivalent_steps(be, p, gradient, context.scaling, st.work);
    }
    base.step(be, p, gradient, st.base, context);
  }
};

}  // namespace preheat::optim
