// A plain LoRA adapter at a lower rank: the r' main triplets of B·A = U·S·Vᵀ (factored, never m×n).
//
//   B' = U·√S,   A' = √S·Vᵀ,   error = ‖B'·A' − B·A‖_F/‖B·A‖_F = √(Σ_{i>r'} σ_i²/Σ_i σ_i²)
//
// This is the best adapter of that rank (Eckart and Young). [preheat] The even split is PiSSA's, and
// training can continue from it. s is kept, so ΔW has the same relative error. The rank r' is given, or
// chosen from the singular values by the energy to be kept or by a ratio (linalg/spectrum.hpp):
//
//   const auto plain = to_plain_lora(net.backend(), report, start);
//   const auto small = recompress(net.backend(), plain[0], 4);
//   const auto exact = recompress(net.backend(), plain[0], linalg::rank_choice{.energy = 0.99});
//
// A is r×n, B is m×r. Errors: r' < 1, or above r, m or n; a core between B and A; a NaN or infinite
// entry. Cost: O((m + n)·r² + r³).
#pragma once
#include <algorithm>
#include <vector>

#include "../linalg/balanced_factors.hpp"
#include "../linalg/factored_svd.hpp"
#include "../linalg/spectrum.hpp"
#include "../linalg/truncated_svd.hpp"
#include "plain_lora.hpp"

namespace preheat {

namespace detail {

// All min(r, m, n) singular triplets of B·A.
template <class Be>
struct product_triplets {
  svd_result<mat<Be>> d;
  std::vector<double> sigma;
};
template <backend Be>
product_triplets<Be> all_triplets(Be& be, const factors<Be>& f) {
  require_no_core(f);
  const index_t all = std::min({f.A.rows(), f.B.rows(), f.A.cols()});
  svd_result<mat<Be>> d = linalg::factored_svd(be, f.B, f.A, all, generator(0));
  linalg::require_finite(be, d.S, "recompress: the spectrum of B·A");
  const std::vector<scalar_of<Be>> sigma = be.download(d.S);
  return {std::move(d), {sigma.begin(), sigma.end()}};
}

template <backend Be>
plain_lora<Be> recompress_to(Be& be, const plain_lora<Be>& large, const product_triplets<Be>& all,
                             index_t rank) {
  return {.f = linalg::balanced_factors(be, linalg::leading_triplets(be, all.d, rank)),
          .scaling = large.scaling,
          .rank = rank,
          .error = linalg::truncation_error(all.sigma, rank),
          .layer = large.layer};
}

}  // namespace detail

// The best adapter of this rank, rank <= that of `large` and <= min(m, n).
template <backend Be>
plain_lora<Be> recompress(Be& be, const plain_lora<Be>& large, index_t rank) {
  const index_t most = std::min({large.f.A.rows(), large.f.B.rows(), large.f.A.cols()});
  require(1 <= rank && rank <= most, "recompress: 1 <= new rank <= rank there is", rank, most);
  return detail::recompress_to(be, large, detail::all_triplets(be, large.f), rank);
}

// The adapter of the smallest rank that this criterion allows.
template <backend Be>
plain_lora<Be> recompress(Be& be, const plain_lora<Be>& large, const linalg::rank_choice& choice) {
  const detail::product_triplets<Be> all = detail::all_triplets(be, large.f);
  return detail::recompress_to(be, large, all, linalg::choose_rank(all.sigma, choice));
}

}  // namespace preheat
