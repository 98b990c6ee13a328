// Weighted sums of adapters, Σ_i w_i·s_i·B_i·A_i (m×n, never formed), as one adapter of s = 1, as PEFT's
// add_weighted_adapter makes them:
//
//   svd     A = Vᵀ, B = U·S of the r main singular triplets: the best adapter of rank r
//   linear  A = Σ sign(w_i·s_i)·√|w_i·s_i|·A_i,  B = Σ √|w_i·s_i|·B_i, all of one rank; its product is not
//           the sum, because it has the mixed products B_i·A_j too
//   cat     A = [w₁·s₁·A₁; …],  B = [B₁, …]: the sum exactly, and the ranks add up
//
//   const auto sum = weighted_sum(be, adapters, {0.7, 0.3}, combination::svd, 8);
//
// Errors: no adapter; not one weight per adapter; a weight that is not finite; shapes that do not go
// together; ranks that differ (linear); for svd a rank < 1 or above Σr_i, m or n, and for the others
// any rank. Cost: O((m + n)·Σr_i), and for svd O((m + n)·(Σr_i)² + (Σr_i)³).
#pragma once
#include <cmath>
#include <utility>
#include <vector>

#include "recompress.hpp"

namespace preheat {

template <backend Be>
plain_lora<Be> weighted_sum(Be& be, const std::vector<plain_lora<Be>>& adapters,
                            const std::vector<double>& weights, combination kind,
                            index_t rank = 0) {
  require(!adapters.empty(), "weighted_sum: at least one adapter");
  require(weights.size() == adapters.size(), "weighted_sum: one weight per adapter", weights.size(),
          adapters.size());
  require(kind == combination::svd || rank == 0,
          "weighted_sum: linear and cat have a rank of their own; a rank is for svd", rank, 0);
  std::vector<weighted_factors<Be>> terms;
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    require(std::isfinite(weights[i]), "weighted_sum: weights are finite");
    require_no_core(adapters[i].f);
    terms.push_back({adapters[i].f.A, adapters[i].f.B,
                     weights_of_term(kind, weights[i] * adapters[i].scaling)});
  }
  plain_lora<Be> sum{.f = kind == combination::linear ? added(be, terms) : concatenated(be, terms),
                     .layer = adapters.front().layer};
  if (kind == combination::svd) {
    const detail::product_triplets<Be> all = detail::all_triplets(be, sum.f);
    const index_t most = index_t(all.sigma.size());
    require(1 <= rank && rank <= most, "weighted_sum: 1 <= rank <= rank there is", rank, most);
    sum.f = linalg::factors_with_values_on(be, parameter_role::B,
                                           linalg::leading_triplets(be, all.d, rank));
    sum.error = linalg::truncation_error(all.sigma, rank);
  }
  sum.rank = sum.f.A.rows();
  return sum;
}

}  // namespace preheat
