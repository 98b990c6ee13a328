// RandLoRA ("RandLoRA: Full-rank parameter-efficient fine-tuning of large models", ICLR 2025, arXiv
// 2502.00987): fixed random pairs, shared by all layers, and trained diagonals between and beside them, as
// many as make ΔW of full rank. With d = min(m, n), D = max(m, n) and q = ⌈d/r⌉ bases:
//
//   U (q·r×d): row (k, b), number k·q + b, is λ_bk·a_k ⊙ γ_b;   k < r, b < q
//   ΔW = s·V·U for n <= m,  s·(V·U)ᵀ for n > m;   V: the first D rows and q·r columns of a random V'
//   a_k (d): the first entries of row k of a random r×d' matrix
//   trained   λ (q×r) and γ (q×d);  start: λ = 0, γ = 1/max(q, d) [PEFT]
//   backward  E = ∂loss/∂U:  ∂λ_bk += Σ_j E_(k,b),j·a_kj·γ_bj,  ∂γ_bj += Σ_k λ_bk·a_kj·E_(k,b),j
//
// d' and D' are the least and the greatest of the largest in and out of the target layers. Entries of both
// random matrices are U(±√3), of variance 1 [PEFT], where it is the sample's. That the order of the rows of U
// is not that of the columns of V is PEFT's. s = `scale`, 20 [PEFT] (its randlora_alpha/r), and not the run's.
// Cost over the products with W: U is formed in every pass, r passes over q×d numbers, and the products with U
// and V are as large as those with W. Memory: D'·(d' + r) numbers once, q·(r + d) trained and 2·q·r·(d + N)
// buffers per layer. A is r×n, X is n×N.
#pragma once
#include <algorithm>
#include <cmath>
#include <memory>
#include <tuple>
#include <utility>

#include "../linalg/random_matrix.hpp"
#include "frozen.hpp"

namespace preheat::adapter {

struct randlora {
  using axis = axes::adapter;
  static constexpr bool has_factors = false;
  static constexpr bool represents_any_product = false;
  static constexpr singular_side side = singular_side::automatic;

  double scale = 20;

  template <class Be>
  struct shared {
    mat<Be> a;  // d'×r, a_k in its columns
    mat<Be> V;
  };
  template <class Be>
  struct params {
    mat<Be> lambda;
    mat<Be> gamma;
    std::shared_ptr<const randlora::shared<Be>> shared{};
    static constexpr auto parameters() {
      return std::tuple(make_parameter<parameter_role::magnitude>("lambda", &params::lambda),
                        make_parameter<parameter_role::magnitude>("gamma", &params::gamma));
    }
  };
  template <class Be>
  struct saved_activations {
    mat<Be> U, E;  // q·r×d
    mat<Be> H, K;  // q·r×N
    mat<Be> block;
  };

  template <backend Be>
  shared<Be> make_shared(Be& be, layer_shape largest, index_t rank, const generator& gen) const {
    const index_t least = std::min(largest.in, largest.out);
    const index_t greatest = std::max(largest.in, largest.out);
    const index_t columns = (least + rank - 1) / rank * rank;
    const auto draw = [&](index_t rows, index_t cols, std::uint64_t which) {
      return linalg::uniform(be, rows, cols, std::sqrt(3.0), gen.fork(purpose::factors, which));
    };
    return {linalg::transposed<Be>(be, draw(rank, least, 0)),
            linalg::transposed<Be>(be, draw(columns, greatest, 1))};
  }
  template <backend Be>
  params<Be> start(Be& be, const frozen_linear<Be>& base, std::shared_ptr<const shared<Be>> pair,
                   const generator&) const {
    require(pair != nullptr, "adapter::randlora: start takes the pair that make_shared returned");
    require(scale > 0, "adapter::randlora: scale > 0", scale, 0.0);
    const index_t r = pair->a.cols();
    const index_t d = std::min(base.W.rows(), base.W.cols());
    const index_t q = (d + r - 1) / r;
    mat<Be> gamma = be.zeros(q, d);
    be.fill(scalar_of<Be>(1 / double(std::max(q, d))), gamma);
    return {be.zeros(q, r), std::move(gamma), std::move(pair)};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>& x,
               view_of<Be> Y, saved_activations<Be>& t) const {
    frozen_forward(be, base, x.base, Y);
    form(be, p, t.U);
    be.resize(t.H, t.U.rows(), Y.cols());
    const scalar_of<Be> s = total(base);
    const bool tall = base.W.cols() <= base.W.rows();
    const const_view_of<Be> V = of_layer(p, base.W.rows(), base.W.cols());
    if (tall) {
      be.gemm(1, transpose::no, t.U, transpose::no, x.adapter_input, 0, t.H);
      be.gemm(s, transpose::no, V, transpose::no, t.H, 1, Y);
    } else {
      be.gemm(1, transpose::yes, V, transpose::no, x.adapter_input, 0, t.H);
      be.gemm(s, transpose::yes, t.U, transpose::no, t.H, 1, Y);
    }
  }
  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base,
                const layer_input<Be>& x, const_view_of<Be> dY, params<Be>& gradient,
                const input_gradient<Be>& dx, saved_activations<Be>& t) const {
    const scalar_of<Be> s = total(base);
    const bool tall = base.W.cols() <= base.W.rows();
    const const_view_of<Be> V = of_layer(p, base.W.rows(), base.W.cols());
    be.resize(t.E, t.U.rows(), t.U.cols());
    be.resize(t.K, t.U.rows(), dY.cols());
    if (tall) {
      be.gemm(s, transpose::yes, V, transpose::no, dY, 0, t.K);
      be.gemm(1, transpose::no, t.K, transpose::yes, x.adapter_input, 0, t.E);
    } else {
      be.gemm(s, transpose::no, t.H, transpose::yes, dY, 0, t.E);
      be.gemm(s, transpose::no, t.U, transpose::no, dY, 0, t.K);
    }
    if (dx.wanted()) {
      frozen_backward(be, base, dY, dx.base);
      be.gemm(1, tall ? transpose::yes : transpose::no, tall ? const_view_of<Be>(t.U) : V,
              transpose::no, t.K, 1, dx.adapter_input);
    }
    const index_t q = p.lambda.rows();
    be.resize(t.block, q, p.gamma.cols());
    for (index_t k = 0; k < p.lambda.cols(); ++k) {
      be.copy(transpose::no, view(t.E).row_range(k * q, q), t.block);
      be.scale_cols(direction(p, k), t.block);
      be.add_row_dots(1, t.block, p.gamma, view(gradient.lambda).col_range(k, 1));
      be.scale_rows(view(p.lambda).col_range(k, 1), t.block);
      be.apply(linalg::axpby<scalar_of<Be>>{1, 1}, gradient.gamma, t.block);
    }
  }
  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be> s, view_of<Be> W, view_of<Be>) const {
    mat<Be> U;
    form(be, p, U);
    const bool tall = W.cols() <= W.rows();
    const const_view_of<Be> V = of_layer<Be>(p, W.rows(), W.cols()), u = U;
    be.gemm(s * scalar_of<Be>(scale), tall ? transpose::no : transpose::yes, tall ? V : u,
            tall ? transpose::no : transpose::yes, tall ? u : V, 1, W);
  }
  template <class Be>
  index_t rank(const params<Be>& p) const {
    return p.lambda.cols();
  }

 private:
  template <class Be>
  scalar_of<Be> total(const frozen_linear<Be>& base) const {
    return base.scaling * scalar_of<Be>(scale);
  }
  template <class Be>
  static const_view_of<Be> of_layer(const params<Be>& p, index_t out, index_t in) {
    return view(p.shared->V).block(0, 0, std::max(out, in), p.lambda.rows() * p.lambda.cols());
  }
  template <class Be>
  static const_view_of<Be> direction(const params<Be>& p, index_t k) {
    return view(p.shared->a).block(0, k, p.gamma.cols(), 1);
  }
  template <backend Be>
  static void form(Be& be, const params<Be>& p, mat<Be>& U) {
    const index_t q = p.lambda.rows();
    be.resize(U, q * p.lambda.cols(), p.gamma.cols());
    for (index_t k = 0; k < p.lambda.cols(); ++k) {
      const view_of<Be> block = view(U).row_range(k * q, q);
      be.copy(transpose::no, p.gamma, block);
      be.scale_rows(view(p.lambda).col_range(k, 1), block);
      be.scale_cols(direction(p, k), block);
    }
  }
};

}  // namespace preheat::adapter
