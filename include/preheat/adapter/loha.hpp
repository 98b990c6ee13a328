// LoHa, low-rank Hadamard (Hyeon-Woo, Ye-Bin, Oh, "FedPara", arXiv 2108.06098; LyCORIS, Yeh et al., arXiv
// 2309.14859): ΔW is the entrywise product of two pairs' products, of rank up to r²:
//
//   ΔW = s·(B₁·A₁) ⊙ (B₂·A₂),  y = (W + ΔW)·x + b
//   forward   P₁ = B₁·A₁,  D = s·P₁ ⊙ (B₂·A₂),  Y = W·X + D·X̃ + b
//   backward  E = dY·X̃ᵀ,  E₁ = E ⊙ P₂,  ∂A₁ += s·B₁ᵀ·E₁,  ∂B₁ += s·E₁·A₁ᵀ, and 1 and 2 exchanged;
//             dX = Wᵀ·dY + Dᵀ·dY
//   start     A₁ ~ U(±1/√n), B₁, B₂ ~ U(±1/√r), A₂ = 0 [PEFT] (FedPara's He draws)
//
// s = α/r [PEFT]. No init: A and B of one pair are not ΔW's factors. A is r×n, B m×r, X n×N.
// Cost of a step over the products with W: two more of them, six of 2·m·n·r operations, and four
// buffers m×n per use of a layer; PEFT forms D as well.
#pragma once
#include <cmath>
#include <tuple>

#include "../linalg/random_matrix.hpp"
#include "frozen.hpp"

namespace preheat::adapter {

struct loha {
  using axis = axes::adapter;
  static constexpr bool has_factors = false;
  static constexpr bool represents_any_product = false;
  static constexpr singular_side side = singular_side::automatic;

  template <class Be>
  struct params {
    mat<Be> A1, B1, A2, B2;
    static constexpr auto parameters() {
      return std::tuple(make_parameter<parameter_role::A, along::rows>("A1", &params::A1),
                        make_parameter<parameter_role::B, along::cols>("B1", &params::B1),
                        make_parameter<parameter_role::A, along::rows>("A2", &params::A2),
                        make_parameter<parameter_role::B, along::cols>("B2", &params::B2));
    }
  };
  template <class Be>
  struct saved_activations {
    mat<Be> P1, P2, D, E;
  };

  template <backend Be>
  params<Be> start(Be& be, const frozen_linear<Be>& base, index_t rank,
                   const generator& gen) const {
    const index_t m = base.W.rows();
    const index_t n = base.W.cols();
    const auto draw = [&](index_t rows, index_t columns, std::uint64_t which) {
      return linalg::uniform(be, rows, columns, 1 / std::sqrt(double(columns)),
                             gen.fork(purpose::factors, which));
    };
    return {draw(rank, n, 0), draw(m, rank, 1), be.zeros(rank, n), draw(m, rank, 2)};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>& x,
               view_of<Be> Y, saved_activations<Be>& t) const {
    form_delta(be, p, base.scaling, t);
    forward_with_delta(be, base, t.D, x, Y);
  }
  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base,
                const layer_input<Be>& x, const_view_of<Be> dY, params<Be>& gradient,
                const input_gradient<Be>& dx, saved_activations<Be>& t) const {
    const scalar_of<Be> s = base.scaling;
    gradient_of_delta(be, x, dY, t.E);
    be.apply(linalg::multiply<scalar_of<Be>>{}, t.P2, t.E);  // E₁
    be.apply(linalg::multiply<scalar_of<Be>>{}, t.P1, t.E);  // E₂
    pull_back(be, p.A1, p.B1, s, t.P2, gradient.A1, gradient.B1);
    pull_back(be, p.A2, p.B2, s, t.P1, gradient.A2, gradient.B2);
    backward_with_delta(be, base, t.D, dY, dx);
  }
  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be> s, view_of<Be> W, view_of<Be>) const {
    saved_activations<Be> t;
    form_delta(be, p, s, t);
    be.apply(linalg::axpby<scalar_of<Be>>{1, 1}, W, t.D);
  }
  template <class Be>
  index_t rank(const params<Be>& p) const {
    return p.A1.rows();
  }

 private:
  template <backend Be>
  static void form_delta(Be& be, const params<Be>& p, scalar_of<Be> s, saved_activations<Be>& t) {
    const auto form = [&](scalar_of<Be> factor, const mat<Be>& B, const mat<Be>& A, mat<Be>& P) {
      be.resize(P, B.rows(), A.cols());
      be.gemm(factor, transpose::no, B, transpose::no, A, 0, P);
    };
    form(1, p.B1, p.A1, t.P1);
    form(1, p.B2, p.A2, t.P2);
    form(s, p.B2, p.A2, t.D);
    be.apply(linalg::multiply<scalar_of<Be>>{}, t.D, t.P1);
  }
  // From the gradient E of B·A to those of A and B, times s.
  template <backend Be>
  static void pull_back(Be& be, const_view_of<Be> A, const_view_of<Be> B, scalar_of<Be> s,
                        const_view_of<Be> E, view_of<Be> dA, view_of<Be> dB) {
    be.gemm(s, transpose::yes, B, transpose::no, E, 1, dA);
    be.gemm(s, transpose::no, E, transpose::yes, A, 1, dB);
  }
};

}  // namespace preheat::adapter
