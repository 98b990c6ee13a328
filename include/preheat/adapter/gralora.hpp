// GraLoRA ("GraLoRA: Granular Low-Rank Adaptation for Parameter-Efficient Fine-Tuning", NeurIPS 2025, arXiv
// 2505.20355): ΔW is a grid of k×k blocks, each with a pair of its own of rank r/k, so that an outlier among
// the inputs reaches the gradients of its own column of blocks alone, at LoRA's number of parameters:
//
//   ΔW_ij = s·B_i[:, j-th r/k columns]·A_j[i-th r/k rows, :],   i, j < k,   y = (W + ΔW)·x + b
//   A = [A_0 | … | A_k−1] (r×n),  B = B_0 over … over B_k−1 (m×r);  k divides r, m and n
//   forward   H_j = A_j·X_j,  Y_i += s·Σ_j B_i[:, j]·H_j[i]
//   backward  D_j[i] = s·B_i[:, j]ᵀ·dY_i,  ∂B_i[:, j] += s·dY_i·H_j[i]ᵀ,  ∂A_j += D_j·X_jᵀ,
//             dX_j = (Wᵀ·dY)_j + A_jᵀ·D_j
//   start     A_j ~ U(±√(k/n)), B = 0 [PEFT]
//
// As PEFT computes it, without its hybrid_r (plain ranks beside the blocks). s = α/r [PEFT], k = 2 [PEFT].
// k = 1 is LoRA. The rank of ΔW is up to k·r; `product` gives the factors of the plain LoRA adapter of that
// rank with the same ΔW. A row of A belongs to a block and a column of B to another, so ranks cannot change in
// training, and no init gives them. X is n×N. Cost: LoRA's operations, in k times k times as many products.
#pragma once
#include <cmath>
#include <tuple>

#include "../linalg/random_matrix.hpp"
#include "frozen.hpp"

namespace preheat::adapter {

struct gralora {
  using axis = axes::adapter;
  static constexpr bool has_factors = false;
  static constexpr bool represents_any_product = false;
  static constexpr singular_side side = singular_side::automatic;

  index_t blocks = 2;  // k

  template <class Be>
  struct params {
    // Not called A and B, which optimizers for ΔW = s·B·A would take for such a pair.
    mat<Be> blocks_a;
    mat<Be> blocks_b;
    static constexpr auto parameters() {
      return std::tuple(make_parameter<parameter_role::A>("A", &params::blocks_a),
                        make_parameter<parameter_role::B>("B", &params::blocks_b));
    }
  };
  template <class Be>
  struct saved_activations {
    mat<Be> H;  // H_0 over … over H_k−1, k·r×N
    mat<Be> D;
  };

  template <backend Be>
  params<Be> start(Be& be, const frozen_linear<Be>& base, index_t rank,
                   const generator& gen) const {
    const index_t m = base.W.rows();
    const index_t n = base.W.cols();
    require(blocks >= 1, "adapter::gralora: blocks >= 1", blocks, 1);
    require(rank % blocks == 0, "adapter::gralora: rank % blocks = 0", rank, blocks);
    require(m % blocks == 0 && n % blocks == 0, "adapter::gralora: out, in % blocks = 0", m, n);
    return {linalg::uniform(be, rank, n, std::sqrt(double(blocks) / double(n)), gen),
            be.zeros(m, rank)};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>& x,
               view_of<Be> Y, saved_activations<Be>& t) const {
    frozen_forward(be, base, x.base, Y);
    const grid at{p.blocks_b.rows(), p.blocks_a.cols(), p.blocks_a.rows(), blocks};
    be.resize(t.H, at.k * at.r, Y.cols());
    for (index_t j = 0; j < at.k; ++j) {
      be.gemm(1, transpose::no, at.a(p.blocks_a, j), transpose::no, at.inputs(x.adapter_input, j),
              0, at.of_input(t.H, j));
    }
    at.each([&](index_t i, index_t j) {
      be.gemm(base.scaling, transpose::no, at.b(p.blocks_b, i, j), transpose::no,
              at.part(t.H, i, j), 1, at.outputs(Y, i));
    });
  }
  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base,
                const layer_input<Be>& x, const_view_of<Be> dY, params<Be>& gradient,
                const input_gradient<Be>& dx, saved_activations<Be>& t) const {
    const scalar_of<Be> s = base.scaling;
    const grid at{p.blocks_b.rows(), p.blocks_a.cols(), p.blocks_a.rows(), blocks};
    be.resize(t.D, at.k * at.r, dY.cols());
    at.each([&](index_t i, index_t j) {
      be.gemm(s, transpose::no, at.outputs(dY, i), transpose::yes, at.part(t.H, i, j), 1,
              at.b(gradient.blocks_b, i, j));
      be.gemm(s, transpose::yes, at.b(p.blocks_b, i, j), transpose::no, at.outputs(dY, i), 0,
              at.part(t.D, i, j));
    });
    if (dx.wanted()) {
      frozen_backward(be, base, dY, dx.base);
    }
    for (index_t j = 0; j < at.k; ++j) {
      be.gemm(1, transpose::no, at.of_input(t.D, j), transpose::yes, at.inputs(x.adapter_input, j),
              1, at.a(gradient.blocks_a, j));
      if (dx.wanted()) {
        be.gemm(1, transpose::yes, at.a(p.blocks_a, j), transpose::no, at.of_input(t.D, j), 1,
                at.inputs(dx.adapter_input, j));
      }
    }
  }
  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be> s, view_of<Be> W, view_of<Be>) const {
    const grid at{p.blocks_b.rows(), p.blocks_a.cols(), p.blocks_a.rows(), blocks};
    at.each([&](index_t i, index_t j) {
      be.gemm(s, transpose::no, at.b(p.blocks_b, i, j), transpose::no, at.a_part(p.blocks_a, i, j),
              1, at.inputs_of_rows(at.outputs(W, i), j));
    });
  }
  // The factors of rank k·r with the same ΔW and s.
  template <backend Be>
  factors<Be> product(Be& be, const params<Be>& p) const {
    const grid at{p.blocks_b.rows(), p.blocks_a.cols(), p.blocks_a.rows(), blocks};
    factors<Be> f{be.zeros(at.k * at.r, at.n), be.zeros(at.m, at.k * at.r)};
    at.each([&](index_t i, index_t j) {
      const index_t first = j * at.r + i * at.part_rank();
      be.copy(transpose::no, at.a_part(p.blocks_a, i, j),
              view(f.A).block(first, j * at.n / at.k, at.part_rank(), at.n / at.k));
      be.copy(transpose::no, at.b(p.blocks_b, i, j),
              view(f.B).block(i * at.m / at.k, first, at.m / at.k, at.part_rank()));
    });
    return f;
  }
  template <class Be>
  index_t rank(const params<Be>& p) const {
    return p.blocks_a.rows();
  }

 private:
  // Where the blocks of every matrix are; i counts blocks of outputs, j of inputs.
  struct grid {
    index_t m, n, r, k;
    index_t part_rank() const { return r / k; }
    template <class F>
    void each(F f) const {
      for (index_t i = 0; i < k; ++i) {
        for (index_t j = 0; j < k; ++j) {
          f(i, j);
        }
      }
    }
    template <class M>
    auto inputs(M&& X, index_t j) const {
      return view(X).row_range(j * n / k, n / k);
    }
    template <class M>
    auto inputs_of_rows(M&& W, index_t j) const {
      return view(W).col_range(j * n / k, n / k);
    }
    template <class M>
    auto outputs(M&& Y, index_t i) const {
      return view(Y).row_range(i * m / k, m / k);
    }
    template <class M>
    auto of_input(M&& H, index_t j) const {
      return view(H).row_range(j * r, r);
    }
    template <class M>
    auto part(M&& H, index_t i, index_t j) const {
      return view(H).row_range(j * r + i * part_rank(), part_rank());
    }
    template <class M>
    auto a(M&& A, index_t j) const {
      return view(A).col_range(j * n / k, n / k);
    }
    template <class M>
    auto a_part(M&& A, index_t i, index_t j) const {
      return view(A).block(i * part_rank(), j * n / k, part_rank(), n / k);
    }
    template <class M>
    auto b(M&& B, index_t i, index_t j) const {
      return view(B).block(i * m / k, j * part_rank(), m / k, part_rank());
    }
  };
};

}  // namespace preheat::adapter
