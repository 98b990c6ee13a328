// RM-LoRA's gradient mask ("A Regularized and Masked Low-Rank Adaptation Approach", arXiv
// 2407.12074), over any optimizer: from the second step of the run on, a step sees k of the r ranks
// of a layer, drawn anew each time; the other rows of G_A and columns of G_B are zero. The mask
// comes after clipping and touches A and B only.
//
//   paired (mode v1)  the same k ranks in A and in B; else (v2) a draw for each
//   freeze_masked     ours: masked ranks stay exactly where they are, though momentum and weight
//                     decay would move them (the moments see a zero gradient)
//
// Published: k = 2 of r = 4, v1. k >= r is the base optimizer, bitwise. Cost: one pass over memory.
#pragma once
#include <vector>

#include "../linalg/elementwise.hpp"
#include "adam.hpp"

namespace preheat::optim {

template <class Base = adamw>
struct masked {
  using axis = axes::optim;
  using hooks = hook_list<>;

  Base base{};
  index_t keep = 2;  // k
  bool paired = true;
  bool freeze_masked = false;

  template <class Be, class P>
  struct state {
    typename Base::template state<Be, P> base;
    P before{};  // the parameters before the step, with freeze_masked
    template <class F>
    void each(F f) {
      base.each(f);
    }
    template <class Archive>
    void archive(Archive& ar) {
      ar("base", base);
    }
  };

  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    require(keep >= 1, "optim::masked: kept ranks >= 1", keep, 1);
    return {base.start(be, p)};
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    const bool masking = context.step > 0;
    if (masking) {
      visit_ranks([&](auto part, mat<Be>& g) { zero_ranks(be, part, g, false, context); },
                  gradient);
    }
    if (masking && freeze_masked) {
      visit_ranks(
          [&](auto, mat<Be>& x, mat<Be>& old) {
            be.resize(old, x.rows(), x.cols());
            be.copy(op::none, x, old);
          },
          p, st.before);
    }
    base.step(be, p, gradient, st.base, context);
    if (masking && freeze_masked) {
      visit_ranks(
          [&](auto part, mat<Be>& x, mat<Be>& old) {
            zero_ranks(be, part, x, false, context);
            zero_ranks(be, part, old, true, context);
            be.each(linalg::axpby<scalar_of<Be>>{1, 1}, x, old);
          },
          p, st.before);
    }
  }

 private:
  // Calls f for the trained factors A and B.
  template <class F, class P, class... Q>
  static void visit_ranks(F f, P& p, Q&... q) {
    visit(
        [&](auto part, auto&... x) {
          if constexpr (part.kind == role::A || part.kind == role::B) {
            static_assert(part.ranks != along::none,
                          "preheat: optim::masked picks ranks, and this adapter shares its "
                          "parameters between ranks: use adapter::lora");
            f(part, x...);
          }
        },
        p, q...);
  }
  // Zeroes the ranks of x that this step's draw leaves out, or those that it keeps.
  template <backend Be, class Part>
  void zero_ranks(Be& be, Part part, mat<Be>& x, bool kept, const step_context& context) const {
    using T = scalar_of<Be>;
    constexpr bool rows = Part::ranks == along::rows;
    const index_t r = rows ? x.rows() : x.cols();
    std::vector<T> factors(std::size_t(r), T(kept ? 1 : 0));
    const std::uint64_t draw = paired ? 0 : std::uint64_t(part.kind);
    for (const index_t k : choose(std::min(keep, r), r, context.gen.fork(purpose::mask, draw))) {
      factors[std::size_t(k)] = T(kept ? 0 : 1);
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
