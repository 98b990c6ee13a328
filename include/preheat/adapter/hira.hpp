// HiRA ("HiRA: Parameter-Efficient Hadamard High-Rank Adaptation for Large Language Models", ICLR 2025):
// the product of a pair scales every weight, so that the rank of ΔW may be far above r:
//
//   ΔW = s·W ⊙ (B·A),  y = (W + ΔW)·x + b;   start: A ~ U(±1/√n), B = 0 [PEFT]
//   forward   D = s·W ⊙ (B·A),  Y = W·X + D·X̃ + b
//   backward  E = W ⊙ (dY·X̃ᵀ),  ∂A += s·Bᵀ·E,  ∂B += s·E·Aᵀ,  dX = Wᵀ·dY + Dᵀ·dY
//
// PEFT has no s: use scaling::constant(1). ΔW is no s·B·A, so this adapter takes no init, is no start
// for HRP and is not saved as plain LoRA; it merges into W, also in chains, where a later block scales
// the W that the earlier ones left. A is r×n, B m×r, X n×N.
// Cost of a step over the products with W: two more of them, two of 2·m·n·r operations, one of
// 4·m·n·r, and two buffers m×n per use of a layer, as in PEFT, which also forms D.
#pragma once
#include <cmath>
#include <tuple>

#include "../linalg/random_matrix.hpp"
#include "frozen.hpp"

namespace preheat::adapter {

struct hira {
  using axis = axes::adapter;
  static constexpr bool has_factors = false;
  static constexpr bool represents_any_product = false;
  static constexpr singular_side side = singular_side::automatic;

  template <class Be>
  struct params {
    // Not called A and B, which optimizers for ΔW = s·B·A would take for such a pair.
    mat<Be> inner_a;
    mat<Be> inner_b;
    static constexpr auto parameters() {
      return std::tuple(make_parameter<parameter_role::A, along::rows>("A", &params::inner_a),
                        make_parameter<parameter_role::B, along::cols>("B", &params::inner_b));
    }
  };
  template <class Be>
  struct saved_activations {
    mat<Be> D;
    mat<Be> E;
  };

  template <backend Be>
  params<Be> start(Be& be, const frozen_linear<Be>& base, index_t rank,
                   const generator& gen) const {
    const index_t n = base.W.cols();
    return {linalg::uniform(be, rank, n, 1 / std::sqrt(double(n)), gen),
            be.zeros(base.W.rows(), rank)};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>& x,
               view_of<Be> Y, saved_activations<Be>& t) const {
    form_delta(be, p, base.W, base.scaling, t.D);
    forward_with_delta(be, base, t.D, x, Y);
  }
  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base,
                const layer_input<Be>& x, const_view_of<Be> dY, params<Be>& gradient,
                const input_gradient<Be>& dx, saved_activations<Be>& t) const {
    const scalar_of<Be> s = base.scaling;
    gradient_of_delta(be, x, dY, t.E);
    be.apply(linalg::multiply<scalar_of<Be>>{}, t.E, const_view_of<Be>(base.W));
    be.gemm(s, transpose::yes, p.inner_b, transpose::no, t.E, 1, gradient.inner_a);
    be.gemm(s, transpose::no, t.E, transpose::yes, p.inner_a, 1, gradient.inner_b);
    backward_with_delta(be, base, t.D, dY, dx);
  }
  // W ← W ⊙ (1 + s·B·A)
  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be> s, view_of<Be> W, view_of<Be>) const {
    mat<Be> D;
    form_delta<Be>(be, p, W, s, D);
    be.apply(linalg::axpby<scalar_of<Be>>{1, 1}, W, D);
  }
  template <class Be>
  index_t rank(const params<Be>& p) const {
    return p.inner_a.rows();
  }

 private:
  template <backend Be>
  static void form_delta(Be& be, const params<Be>& p, const_view_of<Be> W, scalar_of<Be> s,
                         mat<Be>& D) {
    be.resize(D, W.rows(), W.cols());
    be.gemm(s, transpose::no, p.inner_b, transpose::no, p.inner_a, 0, D);
    be.apply(linalg::multiply<scalar_of<Be>>{}, D, W);
  }
};

}  // namespace preheat::adapter
