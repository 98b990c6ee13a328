// A gate on every rank: y = W·x + s·B·(g ⊙ A·x) + b, ΔW = s·B·diag(g)·A.
//
//   forward   H = A·X,  Y = W·X + s·B·(g ⊙ H) + b
//   backward  D = Bᵀ·dY,  ∂g_k += s·Σ_j H_kj·D_kj,  ∂B += s·dY·(g ⊙ H)ᵀ,
//             ∂A += s·(g ⊙ D)·Xᵀ,  dX = Wᵀ·dY + s·Aᵀ·(g ⊙ D)
//
//   gate::learned  g ~ N(0, 1) at the start, trained: SoRA (arXiv 2311.11696). Its ΔW is not B·A, so
//                  it takes inits of product zero only.
//   gate::open     g = 1, not trained: ALoRA (arXiv 2403.16187) closes gates to see what they do.
//   gate::closed   g = 0 at the start, trained: AdaLoRA (arXiv 2303.10512), whose E is g. ΔW starts at
//                  zero whatever A and B are, and only moves if both are set: init::gaussian_pair.
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
  using hooks = hook_list<>;
  static constexpr bool has_factors = true;
  static constexpr bool any_product = Gate == gate::open;
  static constexpr bool starts_closed = Gate == gate::closed;
  static constexpr side directions = side::automatic;

  template <class Be>
  struct params {
    mat<Be> A;
    mat<Be> B;
    mat<Be> g;
    static constexpr auto parts() {
      return std::tuple(make_part<role::A, along::rows>("A", &params::A),
                        make_part<role::B, along::cols>("B", &params::B),
                        make_part<role::gate, along::rows, Gate != gate::open>("g", &params::g));
    }
  };
  template <class Be>
  struct tape {
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
               out<Be> Y, tape<Be>& t) const {
    be.resize(t.H, p.A.rows(), x.branch.cols());
    be.resize(t.gated_H, p.A.rows(), x.branch.cols());
    frozen_forward<Be>(be, base, x.base, Y);
    be.gemm(1, op::none, p.A, op::none, x.branch, 0, t.H);
    be.copy(op::none, t.H, t.gated_H);
    be.scale_rows(p.g, t.gated_H);
    be.gemm(base.scaling, op::none, p.B, op::none, t.gated_H, 1, Y);
  }

  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base,
                const layer_input<Be>& x, in<Be> dY, params<Be>& gradient,
                const input_gradient<Be>& dx, tape<Be>& t) const {
    const scalar_of<Be> s = base.scaling;
    be.resize(t.D, p.A.rows(), dY.cols());
    be.gemm(1, op::trans, p.B, op::none, dY, 0, t.D);
    be.gemm(s, op::none, dY, op::trans, t.gated_H, 1, gradient.B);
    if constexpr (Gate != gate::open) {
      be.add_row_dots(s, t.H, t.D, gradient.g);
    }
    be.scale_rows(p.g, t.D);
    be.gemm(s, op::none, t.D, op::trans, x.branch, 1, gradient.A);
    if (dx.wanted()) {
      frozen_backward<Be>(be, base, dY, dx.base);
      be.gemm(s, op::trans, p.A, op::none, t.D, 1, dx.branch);
    }
  }

  // A and B·diag(g)
  template <backend Be>
  factors<Be> product(Be& be, const params<Be>& p) const {
    mat<Be> B = clone<Be>(be, p.B);
    be.scale_cols(p.g, B);
    return {clone<Be>(be, p.A), std::move(B)};
  }
  template <class Be>
  index_t rank(const params<Be>& p) const {
    return p.A.rows();
  }
  // W += s·B·diag(g)·A
  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be> s, out<Be> W, out<Be>) const {
    merge_product<Be>(be, product(be, p), s, W);
  }
};

}  // namespace preheat::adapter
