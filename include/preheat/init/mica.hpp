// MiCA, Minor Component Adaptation (arXiv 2604.01694), as init_lora_weights="mica" of [PEFT]. With
// the reduced W = U·S·Vᵀ (m×n),
//
//   A = 0 (r×n),  B = U[:, −r:] (m×r), the left singular vectors of the r least singular values.
//
// The product is zero, so W and the output are unchanged. B is frozen in training, so this init
// goes with adapter::asymmetric<parameter_role::A>; [preheat] with adapter::lora B is trained too.
// Where m > n the reduced SVD has no left vectors of the null space, and B has none of them either.
// B is unique up to signs, and only where the least singular values differ from each other.
//
// Errors: an adapter that freezes A (A = 0 would stay); rank < 1 or rank > min(m, n); NaN or
// infinity in W. Cost: an exact SVD, O(m·n·min(m, n)).
#pragma once
#include <utility>

#include "../linalg/minor_svd.hpp"

namespace preheat::init {

struct mica {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    require(s.side != singular_side::right,
            "init::mica puts singular vectors into B and needs an adapter that trains A: use "
            "adapter::asymmetric<parameter_role::A>");
    svd_result<mat<Be>> last = linalg::minor_svd(be, s.W, s.rank);
    return {be.zeros(s.rank, s.W.cols()), std::move(last.U)};
  }
};

}  // namespace preheat::init
