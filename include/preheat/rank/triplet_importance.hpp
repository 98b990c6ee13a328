// The importance of the ranks of a layer in AdaLoRA ("AdaLoRA: Adaptive Budget Allocation for
// Parameter-Efficient Fine-Tuning", arXiv 2303.10512). Rank k is a triplet: row k of A, gate E_k
// and column k of B, in ΔW = s·B·diag(E)·A. Every entry p with gradient g has a smoothed
// sensitivity I and a smoothed uncertainty U,
//
//   I ← β₁·I + (1 − β₁)·|p·g|,   U ← β₂·U + (1 − β₂)·| |p·g| − I |     (with the new I)
//
//   score of triplet k:  (I·U)(E_k) + mean over the row of A of I·U + mean over the column of B
//
// A is r×n, B is m×r, E is r×1. Cost of observe: one pass over A, B and E; memory twice theirs.
#pragma once
#include <vector>

#include "../adapter/gated.hpp"

namespace preheat::rank {

template <class T>
struct sensitivity_kernel {
  T beta1, beta2;
  constexpr void operator()(T& I, T& U, const T& p, const T& g) const {
    const T now = magnitude(p * g);
    I = beta1 * I + (1 - beta1) * now;
    U = beta2 * U + (1 - beta2) * magnitude(now - I);
  }
  static constexpr T magnitude(T x) { return x < 0 ? -x : x; }
};

template <class Be>
struct triplet_importance {
  using numbers = typename adapter::gated<adapter::gate::closed>::template params<Be>;
  using T = scalar_of<Be>;

  numbers I, U;  // one number per entry of A, B and E; empty before the first gradient

  index_t rank() const { return I.g.rows(); }

  // Adds one step's parameters and gradient; a shape other than before starts again.
  template <class P>
  void observe(Be& be, const P& p, const P& gradient, double beta1, double beta2) {
    const auto update = [&](const mat<Be>& x, const mat<Be>& g, mat<Be>& i, mat<Be>& u) {
      if (i.rows() != x.rows() || i.cols() != x.cols()) {
        i = be.zeros(x.rows(), x.cols());
        u = be.zeros(x.rows(), x.cols());
      }
      be.apply(sensitivity_kernel<T>{T(beta1), T(beta2)}, i, u, x, g);
    };
    update(p.A, gradient.A, I.A, U.A);
    update(p.B, gradient.B, I.B, U.B);
    update(p.g, gradient.g, I.g, U.g);
  }
  // The score of every triplet.
  std::vector<T> scores(Be& be) const {
    mat<Be> score = be.zeros(rank(), 1);
    be.add_row_dots(1, I.g, U.g, score);
    be.add_row_dots(1 / T(I.A.cols()), I.A, U.A, score);
    be.add_row_dots(1 / T(I.B.rows()), linalg::transposed(be, I.B), linalg::transposed(be, U.B),
                    score);
    return be.download(score);
  }
  template <class Archive>
  void archive(Archive& ar) {
    ar("I", I);
    ar("U", U);
  }
};

}  // namespace preheat::rank
