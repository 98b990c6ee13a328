// RM-LoRA's regularizer ("A Regularized and Masked Low-Rank Adaptation Approach", arXiv 2407.12074),
// over any optimizer: the loss gains
//
//   λ·(1/N)·Σ ‖C − I‖_F,   C = A·Aᵀ or Bᵀ·B,   over all N trained factor matrices of the network
//
// (not squared). Gradients: (λ/N)·2·(C − I)·A/‖C − I‖ and (λ/N)·2·B·(C − I)/‖C − I‖, zero at C = I.
// They are added before clipping. A zero B adds √r to the sum and no gradient. λ = 0.1 [paper].
// Cost: O((m + n)·r²) per step. Errors: λ < 0; an adapter that trains neither A nor B, or shares
// them between ranks.
#pragma once
#include <cmath>

#include "../linalg/elementwise.hpp"
#include "adam.hpp"

namespace preheat::optim {

namespace detail {
// g += the gradient of weight·‖C − I‖_F with C = x·xᵀ (ranks are rows) or xᵀ·x; nothing at C = I.
template <backend Be>
void add_orthogonality_gradient(Be& be, bool rows, double weight, const_view_of<Be> x,
                                view_of<Be> g) {
  using T = scalar_of<Be>;
  mat<Be> E = linalg::gram(be, rows ? transpose::no : transpose::yes, x);
  be.apply_indexed(linalg::add_to_diagonal<T>{-1, E.rows()}, E);
  const double norm = std::sqrt(double(be.dot(E, E)));
  if (norm == 0) {
    return;
  }
  const T factor = T(2 * weight / norm);
  if (rows) {
    be.gemm(factor, transpose::no, E, transpose::no, x, 1, g);
  } else {
    be.gemm(factor, transpose::no, x, transpose::no, E, 1, g);
  }
}
}  // namespace detail

template <class Base = adamw>
struct regularized {
  using axis = axes::optim;

  Base base{};
  double lambda = 0.1;

  template <class Be, class P>
  using state = typename Base::template state<Be, P>;

  template <backend Be, class P>
  void on(hook::penalize, Be& be, const P& p, P& gradient, const step_context& context) const {
    if (lambda == 0) {
      return;
    }
    const double share = lambda / double(context.matrices[int(parameter_role::A)] +
                                         context.matrices[int(parameter_role::B)]);
    for_each_trained(
        [&](auto parameter, const mat<Be>& x, mat<Be>& g) {
          if constexpr (parameter.role == parameter_role::A ||
                        parameter.role == parameter_role::B) {
            static_assert(parameter.ranks != along::none,
                          "preheat: optim::regularized penalizes the factors A and B; this "
                          "adapter shares its parameters between ranks: use adapter::lora");
            detail::add_orthogonality_gradient(be, parameter.ranks == along::rows, share, x, g);
          }
        },
        p, gradient);
  }
  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    static_assert(
        trains<P>(parameter_role::A) || trains<P>(parameter_role::B),
        "preheat: optim::regularized pushes A and B towards orthonormal factors, and this "
        "adapter trains neither; use adapter::lora");
    require(lambda >= 0, "optim::regularized: lambda >= 0", lambda, 0.0);
    return base.start(be, p);
  }
  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    base.step(be, p, gradient, st, context);
  }
};

}  // namespace preheat::optim
