// LoRA and Asymmetric LoRA: y = W·x + s·B·A·x + b.
//
// LoRA (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685) trains
// both factors. Asymmetric LoRA freezes one of them at its start.
//
//   forward   H = A·X,  Y = W·X + s·B·H + b
//   backward  D = Bᵀ·dY,  ∂A += s·D·Xᵀ,  ∂B += s·dY·Hᵀ,  dX = Wᵀ·dY + s·Aᵀ·D
//
// A is r×n, B is m×r, X is n×N. Cost of a step: the two products with W, and at most five thin ones
// of 2·r·N·(m or n) operations. The tape (H and D, r×N) is reused from step to step.
#pragma once
#include <tuple>

#include "frozen.hpp"

namespace preheat::adapter {

template <bool TrainA, bool TrainB>
struct low_rank {
  static_assert(TrainA || TrainB, "preheat: an adapter trains at least one factor");

  using axis = axes::adapter;
  using hooks = hook_list<>;
  static constexpr bool has_factors = true;
  static constexpr bool any_product = TrainA && TrainB;
  // Directions go into the frozen factor: what is frozen at zero would stay zero.
  static constexpr side directions =
      TrainA && TrainB ? side::automatic : (TrainB ? side::right : side::left);

  template <class Be>
  struct params {
    mat<Be> A;
    mat<Be> B;
    static constexpr auto parts() {
      return std::tuple(make_part<role::A, along::rows, TrainA>("A", &params::A),
                        make_part<role::B, along::cols, TrainB>("B", &params::B));
    }
  };
  template <class Be>
  struct tape {
    mat<Be> H;
    mat<Be> D;
  };

  template <backend Be>
  params<Be> start(Be&, const frozen_linear<Be>&, factors<Be> f, const generator&) const {
    require_no_core(f);
    return {std::move(f.A), std::move(f.B)};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>& x,
               out<Be> Y, tape<Be>& t) const {
    be.resize(t.H, p.A.rows(), x.branch.cols());
    frozen_forward<Be>(be, base, x.base, Y);
    be.gemm(1, op::none, p.A, op::none, x.branch, 0, t.H);
    be.gemm(base.scaling, op::none, p.B, op::none, t.H, 1, Y);
  }

  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base,
                const layer_input<Be>& x, in<Be> dY, params<Be>& gradient,
                const input_gradient<Be>& dx, tape<Be>& t) const {
    const scalar_of<Be> s = base.scaling;
    if constexpr (TrainB) {
      be.gemm(s, op::none, dY, op::trans, t.H, 1, gradient.B);
    }
    if (!TrainA && !dx.wanted()) {
      return;
    }
    be.resize(t.D, p.B.cols(), dY.cols());
    be.gemm(1, op::trans, p.B, op::none, dY, 0, t.D);
    if constexpr (TrainA) {
      be.gemm(s, op::none, t.D, op::trans, x.branch, 1, gradient.A);
    }
    if (dx.wanted()) {
      frozen_backward<Be>(be, base, dY, dx.base);
      be.gemm(s, op::trans, p.A, op::none, t.D, 1, dx.branch);
    }
  }

  template <backend Be>
  factors<Be> product(Be& be, const params<Be>& p) const {
    return {clone<Be>(be, p.A), clone<Be>(be, p.B)};
  }
  template <class Be>
  index_t rank(const params<Be>& p) const {
    return p.A.rows();
  }
  // W += s·B·A
  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be> s, out<Be> W, out<Be>) const {
    be.gemm(s, op::none, p.B, op::none, p.A, 1, W);
  }
};

using lora = low_rank<true, true>;

}  // namespace preheat::adapter
