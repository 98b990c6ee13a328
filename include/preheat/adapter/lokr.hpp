// LoKr, low-rank Kronecker (LyCORIS: Yeh et al., "Navigating Text-To-Image Customization: From LyCORIS
// Fine-Tuning to Model Evaluation", ICLR 2024, arXiv 2309.14859): ΔW is the Kronecker product of a small
// matrix and a low-rank one,
//
//   ΔW = s·K ⊗ (B·A),  y = (W + ΔW)·x + b;   K: p×q,  A: r×n/q,  B: m/p×r
//   p, q = the greatest divisors of m, n not above √m, √n (or not above `factor`; `factor` itself where it
//   divides m, n) [PEFT];   start: K = 0, A ~ U(±√(q/n)), B ~ U(±1/√r) [PEFT]
//
// With X_j the j-th of q equal parts of the input and Y_i the i-th of p parts of the output,
//   forward   H_j = B·(A·X_j),  Y_i += s·Σ_j K_ij·H_j
//   backward  E_j = s·Σ_i K_ij·dY_i,  ∂K_ij += s·⟨dY_i, H_j⟩,  ∂B += Σ_j E_j·(A·X_j)ᵀ,
//             ∂A += Σ_j Bᵀ·E_j·X_jᵀ,  dX_j += Aᵀ·Bᵀ·E_j
//
// s = α/r [PEFT]. PEFT trains B·A as a whole matrix where r is at least half its longer side; here it is
// always low-rank [preheat]. ΔW has up to p·q times as many ranks as B·A and is no product of a pair (A, B):
// no init. Cost over the products with W: 2·r·N·(q·m/p + n) and 2·m·q·N operations, in 2·q + 1 products;
// buffers of N·(q·m/p + m) numbers.
#pragma once
#include <cmath>
#include <tuple>

#include "../linalg/random_matrix.hpp"
#include "frozen.hpp"

namespace preheat::adapter {

struct lokr {
  using axis = axes::adapter;
  static constexpr bool has_factors = false;
  static constexpr bool represents_any_product = false;
  static constexpr singular_side side = singular_side::automatic;

  index_t factor = 0;  // 0: near the root

  template <class Be>
  struct params {
    // Not called A and B, which optimizers for ΔW = s·B·A would take for such a pair.
    mat<Be> K, inner_a, inner_b;
    static constexpr auto parameters() {
      return std::tuple(make_parameter<parameter_role::weight>("K", &params::K),
                        make_parameter<parameter_role::A, along::rows>("A", &params::inner_a),
                        make_parameter<parameter_role::B, along::cols>("B", &params::inner_b));
    }
  };
  template <class Be>
  struct saved_activations {
    mat<Be> H, E;  // H_j and E_j are column j: m/p·N×q
    mat<Be> Y;     // Y_i, then dY_i, likewise: m/p·N×p
    mat<Be> R, T;  // A·X_j, side by side: r×q·N; Bᵀ·E_j
  };

  // The smaller number of the two that a side of W is the product of.
  index_t leading(index_t side_of_w) const {
    require(factor >= 0, "adapter::lokr: factor >= 0", factor, 0);
    if (factor > 0 && side_of_w % factor == 0) {
      return factor;
    }
    index_t best = 1;
    for (index_t d = 2; d * d <= side_of_w && (factor == 0 || d <= factor); ++d) {
      best = side_of_w % d == 0 ? d : best;
    }
    return best;
  }

  template <backend Be>
  params<Be> start(Be& be, const frozen_linear<Be>& base, index_t rank,
                   const generator& gen) const {
    const index_t p = leading(base.W.rows());
    const index_t q = leading(base.W.cols());
    const auto draw = [&](index_t rows, index_t columns, std::uint64_t which) {
      return linalg::uniform(be, rows, columns, 1 / std::sqrt(double(columns)),
                             gen.fork(purpose::factors, which));
    };
    return {be.zeros(p, q), draw(rank, base.W.cols() / q, 0), draw(base.W.rows() / p, rank, 1)};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>& x,
               view_of<Be> Y, saved_activations<Be>& t) const {
    frozen_forward(be, base, x.base, Y);
    const index_t tokens = Y.cols(), high = p.inner_b.rows(), wide = p.inner_a.cols();
    be.resize(t.H, high * tokens, p.K.cols());
    be.resize(t.R, p.inner_a.rows(), p.K.cols() * tokens);
    for (index_t j = 0; j < p.K.cols(); ++j) {
      const view_of<Be> R = view(t.R).col_range(j * tokens, tokens);
      be.gemm(1, transpose::no, p.inner_a, transpose::no, x.adapter_input.row_range(j * wide, wide),
              0, R);
      be.gemm(1, transpose::no, p.inner_b, transpose::no, R, 0, part(t.H, j, high, tokens));
    }
    be.resize(t.Y, high * tokens, p.K.rows());
    be.gemm(base.scaling, transpose::no, t.H, transpose::yes, p.K, 0, t.Y);
    for (index_t i = 0; i < p.K.rows(); ++i) {
      be.apply(linalg::axpby<scalar_of<Be>>{1, 1}, Y.row_range(i * high, high),
               const_view_of<Be>(part(t.Y, i, high, tokens)));
    }
  }
  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base,
                const layer_input<Be>& x, const_view_of<Be> dY, params<Be>& gradient,
                const input_gradient<Be>& dx, saved_activations<Be>& t) const {
    const index_t tokens = dY.cols(), high = p.inner_b.rows(), wide = p.inner_a.cols();
    for (index_t i = 0; i < p.K.rows(); ++i) {
      be.copy(transpose::no, dY.row_range(i * high, high), part(t.Y, i, high, tokens));
    }
    be.gemm(base.scaling, transpose::yes, t.Y, transpose::no, t.H, 1, gradient.K);
    be.resize(t.E, t.H.rows(), t.H.cols());
    be.gemm(base.scaling, transpose::no, t.Y, transpose::no, p.K, 0, t.E);
    be.resize(t.T, p.inner_a.rows(), tokens);
    if (dx.wanted()) {
      frozen_backward(be, base, dY, dx.base);
    }
    for (index_t j = 0; j < p.K.cols(); ++j) {
      const const_view_of<Be> E = part(t.E, j, high, tokens);
      be.gemm(1, transpose::no, E, transpose::yes, view(t.R).col_range(j * tokens, tokens), 1,
              gradient.inner_b);
      be.gemm(1, transpose::yes, p.inner_b, transpose::no, E, 0, t.T);
      be.gemm(1, transpose::no, t.T, transpose::yes, x.adapter_input.row_range(j * wide, wide), 1,
              gradient.inner_a);
      if (dx.wanted()) {
        be.gemm(1, transpose::yes, p.inner_a, transpose::no, t.T, 1,
                dx.adapter_input.row_range(j * wide, wide));
      }
    }
  }
  // W += s·K ⊗ (B·A): all products of entries of K and B·A as one matrix, whose columns are the blocks.
  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be> s, view_of<Be> W, view_of<Be>) const {
    const index_t high = p.inner_b.rows(), wide = p.inner_a.cols();
    const mat<Be> inner =
        linalg::product<Be>(be, transpose::no, p.inner_b, transpose::no, p.inner_a, s);
    const mat<Be> values =
        linalg::product<Be>(be, transpose::no, column(be, inner), transpose::yes, column(be, p.K));
    for (index_t i = 0; i < p.K.rows(); ++i) {
      for (index_t j = 0; j < p.K.cols(); ++j) {
        be.apply(linalg::axpby<scalar_of<Be>>{1, 1}, W.block(i * high, j * wide, high, wide),
                 part(values, j * p.K.rows() + i, high, wide));
      }
    }
  }
  template <class Be>
  index_t rank(const params<Be>& p) const {
    return p.inner_a.rows();
  }

 private:
  // Column k of a matrix, as a matrix rows×columns.
  template <class M>
  static auto part(M& matrix, index_t k, index_t rows, index_t columns) {
    return view(view(matrix).col_range(k, 1).data(), rows, columns);
  }
  // The entries of a matrix in one column, column by column.
  template <backend Be>
  static mat<Be> column(Be& be, const mat<Be>& matrix) {
    mat<Be> all = be.zeros(matrix.rows() * matrix.cols(), 1);
    be.copy(transpose::no, matrix, part(all, 0, matrix.rows(), matrix.cols()));
    return all;
  }
};

}  // namespace preheat::adapter
