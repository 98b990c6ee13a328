// VeRA (Kopiczko, Blankevoort, Asano, "VeRA: Vector-based Random Matrix Adaptation", arXiv
// 2310.11454): one random pair A, B, frozen and shared by all layers; each layer trains two vectors.
//
//   y = W·x + b + s·λ_b ⊙ (B·(λ_d ⊙ (A·x))),   ΔW = s·diag(λ_b)·B·diag(λ_d)·A
//   forward   H = A·X,  Z = s·B·(λ_d ⊙ H),  Y = W·X + b + λ_b ⊙ Z
//   backward  D = s·Bᵀ·(λ_b ⊙ dY),  dX = Wᵀ·dY + Aᵀ·(λ_d ⊙ D),
//             ∂λ_b += Σ_j dY_j ⊙ Z_j,  ∂λ_d += Σ_j D_j ⊙ H_j
//   start     λ_d = 0.1, λ_b = 0, so that the output does not change [paper]; s = 1: no α [paper]
//
// A is r×n', B is m'×r, where n' and m' are the largest in and out of the target layers; a layer of
// n inputs and m outputs uses the first n columns of A and the first m rows of B [PEFT]. Entries of
// A are U(±√(6/n')), of B U(±√(6/r)) (Kaiming uniform) [PEFT]: a draw that depends on the seed, r
// and the entry's place alone, times that bound [preheat]. r has no upper bound: the paper's exceed
// the layers' sizes. λ_d is r×1, λ_b is m×1, X is n×N.
//
// Memory: r·(m' + n') numbers once, m + r trained ones per layer, and two r×N and one m×N buffers.
// Cost of a step over the products with W: two thin products forward and one or two backward, each
// of 2·r·N·(m or n) operations, and passes over m×N and r×N numbers.
#pragma once
#include <cmath>
#include <memory>
#include <tuple>
#include <utility>

#include "../linalg/random_matrix.hpp"
#include "frozen.hpp"

namespace preheat::adapter {

struct vera {
  using axis = axes::adapter;
  static constexpr bool has_factors = false;
  static constexpr bool represents_any_product = false;
  static constexpr singular_side side = singular_side::automatic;

  double d_initial = 0.1;

  template <class Be>
  struct shared {
    mat<Be> A;
    mat<Be> B;
  };
  template <class Be>
  struct params {
    mat<Be> d;  // λ_d
    mat<Be> b;  // λ_b
    std::shared_ptr<const vera::shared<Be>> shared{};
    static constexpr auto parameters() {
      return std::tuple(
          make_parameter<parameter_role::magnitude, along::rows>("lambda_d", &params::d),
          make_parameter<parameter_role::magnitude>("lambda_b", &params::b));
    }
    const_view_of<Be> A(index_t in) const { return view(shared->A).col_range(0, in); }
    const_view_of<Be> B(index_t out) const { return view(shared->B).row_range(0, out); }
  };
  template <class Be>
  struct saved_activations {
    mat<Be> H;
    mat<Be> D;  // λ_d ⊙ H, then D, then λ_d ⊙ D
    mat<Be> Z;  // then λ_b ⊙ dY
  };

  // B is drawn row by row, so that its first rows do not depend on m'.
  template <backend Be>
  shared<Be> make_shared(Be& be, layer_shape largest, index_t rank, const generator& gen) const {
    const auto draw = [&](index_t length, index_t fan_in, std::uint64_t which) {
      return linalg::uniform(be, rank, length, std::sqrt(6 / double(fan_in)),
                             gen.fork(purpose::factors, which));
    };
    return {draw(largest.in, largest.in, 0), linalg::transposed(be, draw(largest.out, rank, 1))};
  }
  template <backend Be>
  params<Be> start(Be& be, const frozen_linear<Be>& base, std::shared_ptr<const shared<Be>> pair,
                   const generator&) const {
    require(pair != nullptr, "adapter::vera: start takes the pair that make_shared returned");
    mat<Be> d = be.zeros(pair->A.rows(), 1);
    be.fill(scalar_of<Be>(d_initial), d);
    return {std::move(d), be.zeros(base.W.rows(), 1), std::move(pair)};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>& x,
               view_of<Be> Y, saved_activations<Be>& t) const {
    to_ranks(be, p.A(base.W.cols()), x.adapter_input, t.H);
    be.resize(t.D, t.H.rows(), t.H.cols());
    be.resize(t.Z, Y.rows(), Y.cols());
    be.copy(transpose::no, t.H, t.D);
    be.scale_rows(p.d, t.D);
    be.gemm(base.scaling, transpose::no, p.B(Y.rows()), transpose::no, t.D, 0, t.Z);
    be.copy(transpose::no, t.Z, Y);
    be.scale_rows(p.b, Y);
    frozen_forward(be, base, x.base, Y, 1);
  }
  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>&,
                const_view_of<Be> dY, params<Be>& gradient, const input_gradient<Be>& dx,
                saved_activations<Be>& t) const {
    be.add_row_dots(1, dY, t.Z, gradient.b);
    be.copy(transpose::no, dY, t.Z);
    be.scale_rows(p.b, t.Z);
    be.gemm(base.scaling, transpose::yes, p.B(dY.rows()), transpose::no, t.Z, 0, t.D);
    be.add_row_dots(1, t.D, t.H, gradient.d);
    be.scale_rows(p.d, t.D);
    backward_from_ranks(be, base, p.A(base.W.cols()), 1, t.D, dY, dx);
  }
  // W += s·diag(λ_b)·B·diag(λ_d)·A, by a copy of m×r numbers.
  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be> s, view_of<Be> W, view_of<Be>) const {
    mat<Be> scaled = clone(be, p.B(W.rows()));
    be.scale_rows(p.b, scaled);
    be.scale_cols(p.d, scaled);
    be.gemm(s, transpose::no, scaled, transpose::no, p.A(W.cols()), 1, W);
  }
  template <class Be>
  index_t rank(const params<Be>& p) const {
    return p.d.rows();
  }
};

}  // namespace preheat::adapter
