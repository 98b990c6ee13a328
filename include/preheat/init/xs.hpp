// The start of LoRA-XS ("LoRA-XS: Low-Rank Adaptation with Extremely Small Number of Parameters",
// arXiv 2405.17604), for adapter::xs. With W ≈ U·S·Vᵀ, its best part of rank r (W is m×n),
//
//   A = Vᵀ (r×n),  B = U·S (m×r),  both frozen,  R = 0 or N(0, sigma²) (r×r), trained.
//
// The paper draws R with sigma = 1e-5, near zero but not zero. Our default is R = 0: it trains as
// well, because the gradient of R does not vanish there, and the output is the base's. With a
// positive sigma it moves by s·B·R·A, whose norm is about s·sigma·√r·‖S‖: small, and not taken from
// W, although `product` says that it is zero.
//
// Errors: rank < 1 or rank > min(m, n); sigma < 0; NaN or infinity in W. A zero W has B = 0, and
// then nothing trains. Cost: an exact SVD, O(m·n·min(m, n)).
#pragma once
#include <utility>

#include "../linalg/truncated_svd.hpp"

namespace preheat::init {

struct xs {
  using axis = axes::init;
  using hooks = hook_list<>;
  static constexpr start product = start::zero_pair;
  static constexpr evidence_kind needs = evidence_kind::weight;

  double sigma = 0;  // the paper: 1e-5

  template <backend Be>
  factors<Be> operator()(Be& be, const site<Be>& s) const {
    require(sigma >= 0, "init::xs: sigma >= 0", sigma, 0.0);
    svd_result<mat<Be>> d = linalg::truncated_svd(be, s.W, s.rank);
    be.scale_cols(d.S, d.U);
    return {linalg::transposed<Be>(be, d.V), std::move(d.U),
            linalg::normal(be, s.rank, s.rank, sigma, s.gen)};
  }
};

}  // namespace preheat::init
