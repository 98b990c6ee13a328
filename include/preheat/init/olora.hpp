// OLoRA ("OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models", arXiv 2406.01775). With
// the reduced factorization W = Q·R, W m×n,
//
//   A = R[:r] (r×n),  B = Q[:, :r] (m×r),  W ← W − s·B·A,
//
// so B starts orthonormal and the output is unchanged. Neither [PEFT], from which the fixtures
// come, nor this init divides by s: s times the part B·A of W is subtracted, and not that part
// itself. A and B are unique up to the signs of the backend's QR; their product is unique.
//
// Errors: rank < 1 or rank > min(m, n); NaN or infinity in W. A zero W gives A = 0.
// Cost: a QR, O(m·n·min(m, n)).
#pragma once
#include <utility>

#include "../linalg/truncated_svd.hpp"

namespace preheat::init {

struct olora {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::residual;

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    linalg::detail::require_rank(s.rank, s.W.rows(), s.W.cols());
    linalg::require_finite(be, s.W, "init::olora: W");
    const qr_result<mat<Be>> f = be.qr(s.W);
    return {clone(be, const_view_of<Be>(f.R).row_range(0, s.rank)),
            clone(be, const_view_of<Be>(f.Q).col_range(0, s.rank))};
  }
};

}  // namespace preheat::init
