// The start of LoRA-XS ("LoRA-XS: Low-Rank Adaptation with Extremely Small Number of Parameters",
// arXiv 2405.17604), for adapter::xs. With the best rank-r approximation U·S·Vᵀ of W (m×n),
//
//   A = Vᵀ (r×n),  B = U·S (m×r),  both frozen,  R = 0 or N(0, sigma²) (r×r), trained.
//
// [paper] draws R with sigma = 1e-5, near zero but not zero. [preheat] R = 0 by default: it trains
// as well, because the gradient of R is not zero there, and the output is that of the base. With a
// positive sigma the output changes by s·B·R·A, whose norm is about s·sigma·√r·‖S‖; this is small
// and is not subtracted from W, although `product` says that it is zero.
//
// Errors: rank < 1 or rank > min(m, n); sigma < 0; NaN or infinity in W. A zero W gives B = 0, and
// then nothing trains. Cost: an exact SVD, O(m·n·min(m, n)).
#pragma once
#include <utility>

#include "../linalg/truncated_svd.hpp"

namespace preheat::init {

struct xs {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero_product;

  double sigma = 0;  // [paper] 1e-5

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    require(sigma >= 0, "init::xs: sigma >= 0", sigma, 0.0);
    svd_result<mat<Be>> d = linalg::truncated_svd(be, s.W, s.rank);
    be.scale_cols(d.S, d.U);
    return {linalg::transposed(be, d.V), std::move(d.U),
            linalg::normal(be, s.rank, s.rank, sigma, s.gen)};
  }
};

}  // namespace preheat::init
