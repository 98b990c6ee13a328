// A gate on every rank: y = W·x + s·B·(g ⊙ A·x) + b, ΔW = s·B·diag(g)·A.
//
//   forward   H = A·X,  Y = W·X + s·B·(g ⊙ H) + b
//   backward  D = Bᵀ·dY,  ∂g_k += s·Σ_j H_kj·D_kj,  ∂B += s·dY·(g ⊙ H)ᵀ,
//             ∂A += s·(g ⊙ D)·Xᵀ,  dX = Wᵀ·dY + s·Aᵀ·(g ⊙ D)
//
//   gate::learned  g ~ N(0, 1) at the start, trained: SoRA (arXiv 2311.11696). Its ΔW is not B·A, so
//                  only inits of product zero are accepted.
//   gate::open     g = 1, not trained: ALoRA (arXiv 2403.16187) closes gates and measures the loss.
//   gate::closed   g = 0 at the start, trained: AdaLoRA (arXiv 2303.10512), whose E is g. ΔW is zero
//                  at the start for any A and B, and learns only if both are set: init::gaussian_pair.
//
// A is r×n, B is m×r, g is r×1, X is n×N. Cost over LoRA: two passes over r×N numbers.
#pragma once
#include <tuple>

#include "../linalg/random_matrix.hpp"
#include "frozen.hpp"

namespace preheat::adapter {

enum class gate { learned, open, closed };

template <gate Gate = gate::learned>
struct gated {
  using axis = axes::adapter;
  static constexpr bool has_factors = true;
  static constexpr bool represents_any_product = Gate == gate::open;
  static constexpr bool zero_at_start = Gate == gate::closed;
  static constexpr singular_side side = singular_side::automatic;

  template <class Be>
  struct params {
    mat<Be> A;
    mat<Be> B;
    mat<Be> g;
    static constexpr auto parameters() {
      return std::tuple(
          make_parameter<parameter_role::A, along::rows>("A", &params::A),
          make_parameter<parameter_role::B, along::cols>("B", &params::B),
          make_parameter<parameter_role::gate, along::rows, Gate != gate::open>("g", &params::g));
    }
  };
  template <class Be>
  struct saved_activations {
    mat<Be> H;
    mat<Be> gated_H;
    mat<Be> D;
  };

  template <backend Be>
  params<Be> start(Be& be, const frozen_linear<Be>&, factors<Be> f, const generator& gen) const {
    require_no_core(f);
    const index_t r = f.A.rows();
    mat<Be> g = Gate == gate::learned ? linalg::normal(be, r, 1, 1, gen) : be.zeros(r, 1);
    if (Gate == gate::open) {
      be.fill(1, g);
    }
    return {std::move(f.A), std::move(f.B), std::move(g)};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>& x,
               view_of<Be> Y, saved_activations<Be>& t) const {
    frozen_forward(be, base, x.base, Y);
    to_ranks(be, p.A, x.adapter_input, t.H);
    be.resize(t.gated_H, t.H.rows(), t.H.cols());
    be.copy(transpose::no, t.H, t.gated_H);
    be.scale_rows(p.g, t.gated_H);
    be.gemm(base.scaling, transpose::no, p.B, transpose::no, t.gated_H, 1, Y);
  }

  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base,
                const layer_input<Be>& x, const_view_of<Be> dY, params<Be>& gradient,
                const input_gradient<Be>& dx, saved_activations<Be>& t) const {
    const scalar_of<Be> s = base.scaling;
    be.resize(t.D, p.A.rows(), dY.cols());
    be.gemm(1, transpose::yes, p.B, transpose::no, dY, 0, t.D);
    be.gemm(s, transpose::no, dY, transpose::yes, t.gated_H, 1, gradient.B);
    if constexpr (Gate != gate::open) {
      be.add_row_dots(s, t.H, t.D, gradient.g);
    }
    be.scale_rows(p.g, t.D);
    be.gemm(s, transpose::no, t.D, transpose::yes, x.adapter_input, 1, gradient.A);
    backward_from_ranks(be, base, p.A, s, t.D, dY, dx);
  }

  // A and B·diag(g)
  template <backend Be>
  factors<Be> product(Be& be, const params<Be>& p) const {
    mat<Be> B = clone(be, p.B);
    be.scale_cols(p.g, B);
    return {clone(be, p.A), std::move(B)};
  }
};

}  // namespace preheat::adapter
