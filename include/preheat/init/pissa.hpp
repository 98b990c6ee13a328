// PiSSA (Meng, Wang, Zhang, "PiSSA: Principal Singular Values and Singular Vectors Adaptation of
// Large Language Models", arXiv 2404.02948). With W = U·S·Vᵀ and the top r triplets,
//
//   A = √(S/s)·Vᵀ,  B = U·√(S/s),  W ← W − s·B·A,
//
// so the output is unchanged and the principal part of W is trained. `pissa` uses an exact SVD,
// O(m·n·min(m, n)); `pissa_randomized` the randomized one of pissa_niter_k [PEFT], O(m·n·(r +
// oversampling)·power_iterations); `pissa_krylov` [preheat] a block Krylov method that after 14
// products with W is nearer to the exact one than pissa_niter_16 after 34. Errors: rank < 1 or rank
// > min(m, n); NaN or infinity in W.
#pragma once
#include "../linalg/balanced_factors.hpp"
#include "../linalg/krylov_svd.hpp"
#include "../linalg/truncated_svd.hpp"

namespace preheat::init {

struct pissa {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::residual;

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    return linalg::balanced_factors(be, linalg::truncated_svd(be, s.W, s.rank), s.scaling);
  }
};

struct pissa_randomized {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::residual;

  index_t power_iterations = 4;
  index_t oversampling = 8;  // [PEFT] 0

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    const linalg::randomized_options options{oversampling, power_iterations};
    return linalg::balanced_factors(be, linalg::randomized_svd(be, s.W, s.rank, options, s.gen),
                                    s.scaling);
  }
  // With a given test matrix Ω, min(m, n)×k.
  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s, const_view_of<Be> omega) const {
    return linalg::balanced_factors(
        be, linalg::randomized_svd(be, s.W, s.rank, omega, power_iterations), s.scaling);
  }
};

struct pissa_krylov {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::residual;

  index_t block = 0;  // columns; 0: the rank, but at least 16
  index_t depth = 6;

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    const linalg::krylov_options options{block, depth};
    return linalg::balanced_factors(be, linalg::krylov_svd(be, s.W, s.rank, options, s.gen),
                                    s.scaling);
  }
};

}  // namespace preheat::init
