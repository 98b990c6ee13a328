// RefLoRA ("RefLoRA: Refactored Low-Rank Adaptation for Efficient Fine-Tuning of Large Models", NeurIPS
// 2025; github.com/zhangyilang/RefLoRA), over any optimizer: before every step the gradients are those
// of another split of B·A into factors, the one that balances the two,
//
//   G_A ← S⁻¹·G_A,   G_B ← G_B·S,   S = P^−½·(P^½·Q·P^½)^½·P^−½,  P = A·Aᵀ, Q = Bᵀ·B,
//
// so that S·P·S = Q: the geometric mean of P⁻¹ and Q. `scalar` takes S = ‖B‖/‖A‖ instead
// (RefLoRA-S). Formulas as in the authors' code (there RefLoRA-S multiplies the factors and
// their moments themselves, which this does not). The gradients are left alone in the first
// `warmup` steps of an adapter [code], 100 there, because S is zero at B = 0; and while A or B
// is zero [preheat]. Singular P and Q: pseudoinverses [preheat], where the code divides by ε.
// Cost: O((m + n)·r² + r³) per step. State: the base's, a count, and a workspace in the pair's shape.
#pragma once
#include <cmath>
#include <utility>

#include "../linalg/polar.hpp"
#include "adam.hpp"
#include "scaled.hpp"

namespace preheat::optim {

template <class Base = adamw>
struct reflora {
  using axis = axes::optim;

  Base base{};
  index_t warmup = 100;  // steps
  bool scalar = false;

  template <class Be, class P>
  struct state : decorated_state<Base, Be, P, pair_workspace<Be>> {
    index_t t = 0;
    template <class Archive>
    void archive(Archive& ar) {
      ar("t", t);
      decorated_state<Base, Be, P, pair_workspace<Be>>::archive(ar);
    }
  };

  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    static_assert(factor_pair<P> && trains<P>(parameter_role::A) && trains<P>(parameter_role::B),
                  "preheat: optim::reflora balances a pair (A, B) of trained factors; use "
                  "adapter::lora");
    require(warmup >= 0, "optim::reflora: warmup >= 0", warmup, 0);
    return {{base.start(be, p)}};
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    if (st.t++ >= warmup && be.max_abs(p.A) > 0 && be.max_abs(p.B) > 0) {
      scalar ? balance_by_number(be, p, gradient) : balance(be, p, gradient, st.work);
    }
    base.step(be, p, gradient, st.base, context);
  }

 private:
  template <backend Be, class P>
  static void balance_by_number(Be& be, const P& p, P& gradient) {
    using T = scalar_of<Be>;
    const double S = std::sqrt(double(be.dot(p.B, p.B)) / double(be.dot(p.A, p.A)));
    be.apply(linalg::scale<T>{T(1 / S)}, gradient.A);
    be.apply(linalg::scale<T>{T(S)}, gradient.B);
  }
  template <backend Be, class P>
  static void balance(Be& be, const P& p, P& gradient, pair_workspace<Be>& work) {
    using linalg::root_kind;
    const auto times = [&](const mat<Be>& x, const mat<Be>& y) {
      return linalg::product<Be>(be, transpose::no, x, transpose::no, y);
    };
    const auto of_p = linalg::symmetric_eigen<Be>(be, linalg::gram<Be>(be, transpose::no, p.A));
    const mat<Be> root = linalg::symmetric_root<Be>(be, of_p, root_kind::plain);
    const mat<Be> inverse = linalg::symmetric_root<Be>(be, of_p, root_kind::inverse);
    const auto inner = linalg::symmetric_eigen<Be>(  // P^½·Q·P^½
        be, linalg::gram<Be>(be, transpose::yes, times(p.B, root)));
    const mat<Be> S =
        times(times(inverse, linalg::symmetric_root<Be>(be, inner, root_kind::plain)), inverse);
    const mat<Be> S_inverse =
        times(times(root, linalg::symmetric_root<Be>(be, inner, root_kind::inverse)), root);
    be.resize(work.a, gradient.A.rows(), gradient.A.cols());
    be.gemm(1, transpose::no, S_inverse, transpose::no, gradient.A, 0, work.a);
    std::swap(work.a, gradient.A);
    be.resize(work.b, gradient.B.rows(), gradient.B.cols());
    be.gemm(1, transpose::no, gradient.B, transpose::no, S, 0, work.b);
    std::swap(work.b, gradient.B);
  }
};

}  // namespace preheat::optim
