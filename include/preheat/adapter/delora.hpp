// DeLoRA (Bini, Girrbach, Akata, "Decoupling Angles and Strength in Low-rank Adaptation", ICLR 2025, arXiv
// 2503.18225): every rank b_k·a_k is divided by its norm, and one trained λ says how large ΔW is:
//
//   ΔW = s·(λ/r)·B·diag(1/(‖a_k‖·‖b_k‖))·A·diag(w),  y = (W + ΔW)·x + b
//   w_j = the norm of column j of W at the start, which then stays;   start: A ~ U(±1/√n), B = 0, λ = 15
//   forward   H = A·(w ⊙ X̃),  c_k = λ/(r·‖a_k‖·‖b_k‖),  Y = W·X + s·B·(c ⊙ H) + b
//   backward  D = s·Bᵀ·dY,  q_k = Σ_j D_kj·H_kj,  ∂λ += Σ q_k·c_k/λ,
//             ∂A += (c ⊙ D)·(w ⊙ X̃)ᵀ − diag(q·c/‖a‖²)·A,  ∂B += s·dY·(c ⊙ H)ᵀ − B·diag(q·c/‖b‖²),
//             dX = Wᵀ·dY + w ⊙ Aᵀ·(c ⊙ D)
//
// A norm below 1e-4 counts as 1e-4 and is then a constant of the gradient, so that B = 0 is no pole. All of
// this, λ = 15 and no s (scaling::constant(1)) as in [PEFT]. The spectral norm of ΔW is at most
// s·λ·max w_j, whatever A and B are. The directions are ΔW's, not a pair's, so it takes no init. A is r×n,
// B m×r, w n×1, λ 1×1. Cost over LoRA: passes over n×N and r×N numbers; buffers n×N and m×r.
#pragma once
#include <cmath>
#include <tuple>

#include "../linalg/random_matrix.hpp"
#include "frozen.hpp"

namespace preheat::adapter {

// From squared norms to what divides by them, k×1: i ← 1/(ranks·‖a‖·‖b‖).
template <class T>
struct inverse_of_norms {
  T ranks, least;
  constexpr void operator()(T& i, const T& aa, const T& bb) const {
    const T a = std::sqrt(aa), b = std::sqrt(bb);
    i = 1 / (ranks * (a < least ? least : a) * (b < least ? least : b));
  }
};
// qc ← −q·c/‖x‖², 0 where the norm is not above the least.
template <class T>
struct pull_of_norm {
  T least;
  constexpr void operator()(T& out, const T& q, const T& c, const T& squares) const {
    out = squares > least * least ? -q * c / squares : T(0);
  }
};

struct delora {
  using axis = axes::adapter;
  static constexpr bool has_factors = false;
  static constexpr bool represents_any_product = false;
  static constexpr singular_side side = singular_side::automatic;
  static constexpr double least_norm = 1e-4;

  double lambda = 15;  // at the start

  template <class Be>
  struct params {
    // Not called A and B, which optimizers for ΔW = s·B·A would take for such a pair.
    mat<Be> axes_a, axes_b, lambda, w;
    static constexpr auto parameters() {
      return std::tuple(
          make_parameter<parameter_role::A, along::rows>("A", &params::axes_a),
          make_parameter<parameter_role::B, along::cols>("B", &params::axes_b),
          make_parameter<parameter_role::magnitude>("lambda", &params::lambda),
          make_parameter<parameter_role::weight, along::none, false>("w", &params::w));
    }
  };
  template <class Be>
  struct rank_scales {
    mat<Be> aa, bb, inverse, c;  // ‖a_k‖², ‖b_k‖², c/λ, c
    mat<Be> Bt;
  };
  template <class Be>
  struct saved_activations {
    rank_scales<Be> ranks;
    mat<Be> X, H, cH, D, q, pull;
    mat<Be> scaled;
  };

  template <backend Be>
  params<Be> start(Be& be, const frozen_linear<Be>& base, index_t rank,
                   const generator& gen) const {
    const index_t n = base.W.cols();
    mat<Be> w = be.zeros(n, 1);
    const mat<Be> columns = linalg::transposed<Be>(be, base.W);
    be.add_row_dots(1, columns, columns, w);
    be.apply(linalg::root<scalar_of<Be>>{1}, w);
    mat<Be> size = be.zeros(1, 1);
    be.fill(scalar_of<Be>(lambda), size);
    return {linalg::uniform(be, rank, n, 1 / std::sqrt(double(n)), gen),
            be.zeros(base.W.rows(), rank), std::move(size), std::move(w)};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>& x,
               view_of<Be> Y, saved_activations<Be>& t) const {
    frozen_forward(be, base, x.base, Y);
    measure(be, p, t.ranks);
    be.resize(t.X, x.adapter_input.rows(), x.adapter_input.cols());
    be.copy(transpose::no, x.adapter_input, t.X);
    be.scale_rows(p.w, t.X);
    to_ranks<Be>(be, p.axes_a, t.X, t.H);
    be.resize(t.cH, t.H.rows(), t.H.cols());
    be.copy(transpose::no, t.H, t.cH);
    be.scale_rows(t.ranks.c, t.cH);
    be.gemm(base.scaling, transpose::no, p.axes_b, transpose::no, t.cH, 1, Y);
  }
  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>&,
                const_view_of<Be> dY, params<Be>& gradient, const input_gradient<Be>& dx,
                saved_activations<Be>& t) const {
    using T = scalar_of<Be>;
    const index_t r = p.axes_a.rows();
    be.gemm(base.scaling, transpose::no, dY, transpose::yes, t.cH, 1, gradient.axes_b);
    be.resize(t.D, r, dY.cols());
    be.gemm(base.scaling, transpose::yes, p.axes_b, transpose::no, dY, 0, t.D);
    be.resize(t.q, r, 1);
    be.fill(0, t.q);
    be.add_row_dots(1, t.D, t.H, t.q);
    be.gemm(1, transpose::yes, t.q, transpose::no, t.ranks.inverse, 1, gradient.lambda);
    be.scale_rows(t.ranks.c, t.D);
    be.gemm(1, transpose::no, t.D, transpose::yes, t.X, 1, gradient.axes_a);

    be.resize(t.pull, r, 1);
    be.apply(pull_of_norm<T>{T(least_norm)}, t.pull, t.q, t.ranks.c, t.ranks.aa);
    be.resize(t.scaled, r, p.axes_a.cols());
    be.copy(transpose::no, p.axes_a, t.scaled);
    be.scale_rows(t.pull, t.scaled);
    be.apply(linalg::axpby<T>{1, 1}, gradient.axes_a, t.scaled);
    be.apply(pull_of_norm<T>{T(least_norm)}, t.pull, t.q, t.ranks.c, t.ranks.bb);
    be.resize(t.scaled, p.axes_b.rows(), r);
    be.copy(transpose::no, p.axes_b, t.scaled);
    be.scale_cols(t.pull, t.scaled);
    be.apply(linalg::axpby<T>{1, 1}, gradient.axes_b, t.scaled);

    if (dx.wanted()) {
      frozen_backward(be, base, dY, dx.base);
      be.gemm(1, transpose::yes, p.axes_a, transpose::no, t.D, 0, t.X);
      be.scale_rows(p.w, t.X);
      be.apply(linalg::axpby<T>{1, 1}, dx.adapter_input, t.X);
    }
  }
  // W += s·B·diag(c)·A·diag(w)
  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be> s, view_of<Be> W, view_of<Be>) const {
    const factors<Be> f = product(be, p);
    be.gemm(s, transpose::no, f.B, transpose::no, f.A, 1, W);
  }
  // B·diag(c) and A·diag(w), the factors of a plain LoRA adapter with the same s and ΔW.
  template <backend Be>
  factors<Be> product(Be& be, const params<Be>& p) const {
    rank_scales<Be> ranks;
    measure(be, p, ranks);
    factors<Be> f{clone<Be>(be, p.axes_a), clone<Be>(be, p.axes_b)};
    be.scale_cols(p.w, f.A);
    be.scale_cols(ranks.c, f.B);
    return f;
  }
  template <class Be>
  index_t rank(const params<Be>& p) const {
    return p.axes_a.rows();
  }

 private:
  template <backend Be>
  static void measure(Be& be, const params<Be>& p, rank_scales<Be>& ranks) {
    const index_t r = p.axes_a.rows();
    be.resize(ranks.Bt, r, p.axes_b.rows());
    be.copy(transpose::yes, p.axes_b, ranks.Bt);
    for (mat<Be>* x : {&ranks.aa, &ranks.bb, &ranks.inverse, &ranks.c}) {
      be.resize(*x, r, 1);
      be.fill(0, *x);
    }
    be.add_row_dots(1, p.axes_a, p.axes_a, ranks.aa);
    be.add_row_dots(1, ranks.Bt, ranks.Bt, ranks.bb);
    using T = scalar_of<Be>;
    be.apply(inverse_of_norms<T>{T(r), T(least_norm)}, ranks.inverse, ranks.aa, ranks.bb);
    be.gemm(1, transpose::no, ranks.inverse, transpose::no, p.lambda, 0, ranks.c);
  }
};

}  // namespace preheat::adapter
