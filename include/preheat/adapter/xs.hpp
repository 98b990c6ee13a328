// LoRA-XS ("LoRA-XS: Low-Rank Adaptation with Extremely Small Number of Parameters", arXiv
// 2405.17604): between a frozen A and a frozen B, an r×r core R is all that is trained.
//
//   forward   H = A·X,  K = R·H,  Y = W·X + s·B·K + b
//   backward  D = Bᵀ·dY,  ∂R += s·D·Hᵀ,  dX = Wᵀ·dY + s·Aᵀ·(Rᵀ·D)
//
// A is r×n, B is m×r, X is n×N; r² numbers are trained per layer, whatever its size. The core comes
// from the init (init::xs, init::lora_sb); with an init that returns no core R = I, so that any pair
// A, B can be held (init::pissa, for example) [preheat].
//
// R counts ranks in both of its dimensions, so the rank cannot change in training: run.select_ranks
// does not compile. Its role is `weight`: settings of an optimizer for A or B do not apply to R.
//
// Errors: a core that is not r×r; no core and a zero A or B, which would stay zero (init::kaiming).
// Cost of a step over LoRA with both factors frozen: products of 2·r²·N operations.
#pragma once
#include <tuple>
#include <utility>

#include "../linalg/elementwise.hpp"
#include "frozen.hpp"

namespace preheat::adapter {

struct xs {
  using axis = axes::adapter;
  static constexpr bool has_factors = true;
  static constexpr bool represents_any_product = true;
  static constexpr singular_side side = singular_side::automatic;

  template <class Be>
  struct params {
    mat<Be> A;
    mat<Be> B;
    mat<Be> R;
    static constexpr auto parameters() {
      return std::tuple(make_parameter<parameter_role::A, along::rows, false>("A", &params::A),
                        make_parameter<parameter_role::B, along::cols, false>("B", &params::B),
                        make_parameter<parameter_role::weight>("R", &params::R));
    }
  };
  template <class Be>
  struct saved_activations {
    mat<Be> H;
    mat<Be> K;
    mat<Be> D;
  };

  template <backend Be>
  params<Be> start(Be& be, const frozen_linear<Be>&, factors<Be> f, const generator&) const {
    const index_t r = f.A.rows();
    if (f.R.rows() > 0) {
      require(f.R.rows() == r, "adapter::xs: rows of the core = rank", f.R.rows(), r);
      require(f.R.cols() == r, "adapter::xs: columns of the core = rank", f.R.cols(), r);
      return {std::move(f.A), std::move(f.B), std::move(f.R)};
    }
    require(be.max_abs(f.A) > 0 && be.max_abs(f.B) > 0,
            "adapter::xs freezes A and B, and an init that leaves one of them zero would train "
            "nothing: use init::xs");
    return {std::move(f.A), std::move(f.B), linalg::identity(be, r)};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>& x,
               view_of<Be> Y, saved_activations<Be>& t) const {
    frozen_forward(be, base, x.base, Y);
    to_ranks(be, p.A, x.adapter_input, t.H);
    be.resize(t.K, p.R.rows(), t.H.cols());
    be.gemm(1, transpose::no, p.R, transpose::no, t.H, 0, t.K);
    be.gemm(base.scaling, transpose::no, p.B, transpose::no, t.K, 1, Y);
  }

  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base,
                const layer_input<Be>& x, const_view_of<Be> dY, params<Be>& gradient,
                const input_gradient<Be>& dx, saved_activations<Be>& t) const {
    const scalar_of<Be> s = base.scaling;
    be.resize(t.D, p.B.cols(), dY.cols());
    be.gemm(1, transpose::yes, p.B, transpose::no, dY, 0, t.D);
    be.gemm(s, transpose::no, t.D, transpose::yes, t.H, 1, gradient.R);
    if (dx.wanted()) {
      be.resize(t.K, p.R.cols(), x.adapter_input.cols());
      be.gemm(1, transpose::yes, p.R, transpose::no, t.D, 0, t.K);
      backward_from_ranks(be, base, p.A, s, t.K, dY, dx);
    }
  }

  // R·A and B, the factors of the plain LoRA adapter with the same ΔW = s·B·(R·A).
  template <backend Be>
  factors<Be> product(Be& be, const params<Be>& p) const {
    return {linalg::product(be, transpose::no, p.R, transpose::no, p.A), clone(be, p.B)};
  }
};

}  // namespace preheat::adapter
