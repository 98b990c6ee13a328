// LoRA and Asymmetric LoRA: y = W·x + s·B·A·x + b.
//
// LoRA (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685) trains
// both factors. Asymmetric LoRA freezes one of them at its start.
//
//   forward   H = A·X,  Y = W·X + s·B·H + b
//   backward  D = Bᵀ·dY,  ∂A += s·D·Xᵀ,  ∂B += s·dY·Hᵀ,  dX = Wᵀ·dY + s·Aᵀ·D
//
// A is r×n, B is m×r, X is n×N. Cost of a step: the two products with W, and at most five thin ones
// of 2·r·N·(m or n) operations. The buffers H and D, r×N, are reused from step to step.
#pragma once
#include <tuple>

#include "frozen.hpp"

namespace preheat::adapter {

// What forward keeps for backward.
template <class Be>
struct rank_activations {
  mat<Be> H;
  mat<Be> D;
};

// The two passes, compiled once whatever is trained. `dA` or `dB` is null where that factor is frozen.
template <backend Be>
[[gnu::noinline]] void low_rank_forward(Be& be, const mat<Be>& A, const mat<Be>& B,
                                        const frozen_linear<Be>& base, const layer_input<Be>& x,
                                        view_of<Be> Y, rank_activations<Be>& t) {
  frozen_forward(be, base, x.base, Y);
  to_ranks(be, A, x.adapter_input, t.H);
  be.gemm(base.scaling, transpose::no, B, transpose::no, t.H, 1, Y);
}
template <backend Be>
[[gnu::noinline]] void low_rank_backward(Be& be, const mat<Be>& A, const mat<Be>& B,
                                         const frozen_linear<Be>& base, const layer_input<Be>& x,
                                         const_view_of<Be> dY, mat<Be>* dA, mat<Be>* dB,
                                         const input_gradient<Be>& dx, rank_activations<Be>& t) {
  const scalar_of<Be> s = base.scaling;
  if (dB != nullptr) {
    be.gemm(s, transpose::no, dY, transpose::yes, t.H, 1, *dB);
  }
  if (dA == nullptr && !dx.wanted()) {
    return;
  }
  be.resize(t.D, B.cols(), dY.cols());
  be.gemm(1, transpose::yes, B, transpose::no, dY, 0, t.D);
  if (dA != nullptr) {
    be.gemm(s, transpose::no, t.D, transpose::yes, x.adapter_input, 1, *dA);
  }
  backward_from_ranks(be, base, A, s, t.D, dY, dx);
}

template <bool TrainA, bool TrainB>
struct low_rank {
  static_assert(TrainA || TrainB, "preheat: an adapter trains at least one factor");

  using axis = axes::adapter;
  static constexpr bool has_factors = true;
  static constexpr bool represents_any_product = TrainA && TrainB;
  // Singular vectors must go into the frozen factor, because a factor frozen at zero never learns.
  static constexpr singular_side side = TrainA && TrainB
                                            ? singular_side::automatic
                                            : (TrainB ? singular_side::right : singular_side::left);

  template <class Be>
  struct params {
    mat<Be> A;
    mat<Be> B;
    static constexpr auto parameters() {
      return std::tuple(make_parameter<parameter_role::A, along::rows, TrainA>("A", &params::A),
                        make_parameter<parameter_role::B, along::cols, TrainB>("B", &params::B));
    }
  };
  template <class Be>
  using saved_activations = rank_activations<Be>;

  template <backend Be>
  params<Be> start(Be&, const frozen_linear<Be>&, factors<Be> f, const generator&) const {
    require_no_core(f);
    return {std::move(f.A), std::move(f.B)};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>& x,
               view_of<Be> Y, saved_activations<Be>& t) const {
    low_rank_forward(be, p.A, p.B, base, x, Y, t);
  }

  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base,
                const layer_input<Be>& x, const_view_of<Be> dY, params<Be>& gradient,
                const input_gradient<Be>& dx, saved_activations<Be>& t) const {
    low_rank_backward(be, p.A, p.B, base, x, dY, TrainA ? &gradient.A : nullptr,
                      TrainB ? &gradient.B : nullptr, dx, t);
  }

  template <backend Be>
  factors<Be> product(Be& be, const params<Be>& p) const {
    return {clone(be, p.A), clone(be, p.B)};
  }
  // W += s·B·A, without the copies of A and B that `product` makes.
  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be> s, view_of<Be> W, view_of<Be>) const {
    be.gemm(s, transpose::no, p.B, transpose::no, p.A, 1, W);
  }
};

using lora = low_rank<true, true>;

}  // namespace preheat::adapter
