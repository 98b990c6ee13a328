// LoRA-XS ("LoRA-XS: Low-Rank Adaptation with Extremely Small Number of Parameters", arXiv
// 2405.17604): between a frozen A and a frozen B, an r×r core R is all that is trained.
//
//   forward   H = A·X,  K = R·H,  Y = W·X + s·B·K + b
//   backward  D = Bᵀ·dY,  ∂R += s·D·Hᵀ,  dX = Wᵀ·dY + s·Aᵀ·(Rᵀ·D)
//
// A is r×n, B is m×r, X is n×N; r² numbers are trained in a layer, whatever its size. The core
// comes from the init (init::xs, init::lora_sb); one that gives no core starts at R = I, so that any
// pair can be held (init::pissa, say; that pairing is ours).
//
// R counts ranks in both of its dimensions, so the rank cannot change in training: run.select_ranks
// does not compile. Its role is `weight`: what an optimizer does to A or B it does not do to R.
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
  using hooks = hook_list<>;
  static constexpr bool has_factors = true;
  static constexpr bool any_product = true;
  static constexpr side directions = side::automatic;

  template <class Be>
  struct params {
    mat<Be> A;
    mat<Be> B;
    mat<Be> R;
    static constexpr auto parts() {
      return std::tuple(make_part<role::A, along::rows, false>("A", &params::A),
                        make_part<role::B, along::cols, false>("B", &params::B),
                        make_part<role::weight>("R", &params::R));
    }
  };
  template <class Be>
  struct tape {
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
               out<Be> Y, tape<Be>& t) const {
    be.resize(t.H, p.A.rows(), x.branch.cols());
    be.resize(t.K, p.A.rows(), x.branch.cols());
    frozen_forward<Be>(be, base, x.base, Y);
    be.gemm(1, op::none, p.A, op::none, x.branch, 0, t.H);
    be.gemm(1, op::none, p.R, op::none, t.H, 0, t.K);
    be.gemm(base.scaling, op::none, p.B, op::none, t.K, 1, Y);
  }

  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base,
                const layer_input<Be>& x, in<Be> dY, params<Be>& gradient,
                const input_gradient<Be>& dx, tape<Be>& t) const {
    const scalar_of<Be> s = base.scaling;
    be.resize(t.D, p.B.cols(), dY.cols());
    be.gemm(1, op::trans, p.B, op::none, dY, 0, t.D);
    be.gemm(s, op::none, t.D, op::trans, t.H, 1, gradient.R);
    if (dx.wanted()) {
      be.resize(t.K, p.R.cols(), x.branch.cols());
      be.gemm(1, op::trans, p.R, op::none, t.D, 0, t.K);
      frozen_backward<Be>(be, base, dY, dx.base);
      be.gemm(s, op::trans, p.A, op::none, t.K, 1, dx.branch);
    }
  }

  // R·A and B, so that ΔW = s·B·(R·A): what a plain LoRA adapter would hold.
  template <backend Be>
  factors<Be> product(Be& be, const params<Be>& p) const {
    return {linalg::product<Be>(be, op::none, p.R, op::none, p.A), clone<Be>(be, p.B)};
  }
  template <class Be>
  index_t rank(const params<Be>& p) const {
    return p.A.rows();
  }
  // W += s·B·R·A
  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be> s, out<Be> W, out<Be>) const {
    merge_product<Be>(be, product(be, p), s, W);
  }
};

}  // namespace preheat::adapter
