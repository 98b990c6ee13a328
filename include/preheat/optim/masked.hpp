// RM-LoRA's gradient mask ("A Regularized and Masked Low-Rank Adaptation Approach", arXiv
// 2407.12074), over any optimizer: from the second step of the run on, a step uses the gradients of
// k of the r ranks of a layer, drawn anew each time; the other rows of G_A and columns of G_B are
// set to zero, after clipping. Parameters other than A and B are not masked.
//
//   paired (mode v1)  the same k ranks in A and in B; else (v2) a draw for each
//   freeze_masked     masked ranks keep their exact values, where momentum and weight decay would
//                     change them; the moments still take in a zero gradient [preheat]
//
// Published: k = 2 of r = 4, v1 (the code's description); k = 4 of r = 8, v2, α 32, lr 1e-3 (its
// script). There the head of the network is masked too, and so stops after the first step. k >=
// r is the base optimizer, bitwise. Cost: one pass over memory. Errors: k < 1; an adapter that
// trains neither A nor B, or shares them between ranks.
#pragma once
#include <vector>

#include "../linalg/elementwise.hpp"
#include "adam.hpp"

namespace preheat::optim {

template <class Base = adamw>
struct masked {
  using axis = axes::optim;

  Base base{};
  index_t keep = 2;  // k
  bool paired = true;
  bool freeze_masked = false;

  template <class Be, class P>  // `work`: the parameters before the step, with freeze_masked
  using state = decorated_state<Base, Be, P, P>;

  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    static_assert(trains<P>(parameter_role::A) || trains<P>(parameter_role::B),
                  "preheat: optim::masked masks the ranks of A and B, and this adapter trains "
                  "neither; use adapter::lora");
    require(keep >= 1, "optim::masked: kept ranks >= 1", keep, 1);
    return {base.start(be, p)};
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    const bool masking = context.step > 0;
    if (masking) {
      visit_ranks([&](auto parameter, mat<Be>& g) { zero_ranks(be, parameter, g, false, context); },
                  gradient);
    }
    if (masking && freeze_masked) {
      visit_ranks(
          [&](auto, mat<Be>& x, mat<Be>& old) {
            be.resize(old, x.rows(), x.cols());
            be.copy(transpose::no, x, old);
          },
          p, st.work);
    }
    base.step(be, p, gradient, st.base, context);
    if (masking && freeze_masked) {
      visit_ranks(
          [&](auto parameter, mat<Be>& x, mat<Be>& old) {
            zero_ranks(be, parameter, x, false, context);
            zero_ranks(be, parameter, old, true, context);
            be.apply(linalg::axpby<scalar_of<Be>>{1, 1}, x, old);
          },
          p, st.work);
    }
  }

 private:
  // Calls f for the trained factors A and B.
  template <class F, class P, class... Q>
  static void visit_ranks(F f, P& p, Q&... q) {
    for_each_trained(
        [&](auto parameter, auto&... x) {
          if constexpr (parameter.role == parameter_role::A ||
                        parameter.role == parameter_role::B) {
            static_assert(parameter.ranks != along::none,
                          "preheat: optim::masked picks ranks, and this adapter shares its "
                          "parameters between ranks: use adapter::lora");
            f(parameter, x...);
          }
        },
        p, q...);
  }
  // Zeroes the ranks of x that this step's draw leaves out, or those that it keeps.
  template <backend Be, class Parameter>
  void zero_ranks(Be& be, Parameter parameter, mat<Be>& x, bool kept,
                  const step_context& context) const {
    using T = scalar_of<Be>;
    constexpr bool rows = Parameter::ranks == along::rows;
    const index_t r = rows ? x.rows() : x.cols();
    std::vector<T> factors(std::size_t(r), T(kept ? 1 : 0));
    const std::uint64_t draw = paired ? 0 : std::uint64_t(parameter.role);
    for (const index_t k :
         random_subset(std::min(keep, r), r, context.gen.fork(purpose::mask, draw))) {
      factors[k] = T(kept ? 0 : 1);
    }
    if (std::min(keep, r) == r && !kept) {
      return;
    }
    mat<Be> d = be.zeros(r, 1);
    be.upload(factors, d);
    if constexpr (rows) {
      be.scale_rows(d, x);
    } else {
      be.scale_cols(d, x);
    }
  }
};

}  // namespace preheat::optim
