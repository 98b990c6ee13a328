// The singular values σ₁ ≥ σ₂ ≥ … of a matrix M, and from them the rank of M, the error of its
// approximations of lower rank, and the rank that an approximation needs. The energy of M is ‖M‖_F² = Σσ_i². The best approximation of rank k keeps the first k of the
// σ_i (Eckart and Young, 1936):
//
//   retained energy    Σ_{i<=k} σ_i²/Σ_i σ_i²
//   truncation error   √(Σ_{i>k} σ_i²/Σ_i σ_i²), relative, in the Frobenius norm
//   effective rank     exp(−Σ_i p_i·log p_i), p_i = σ_i/Σσ (Roy and Vetterli, EUSIPCO 2007)
//
// All functions take the σ_i in decreasing order, none of them negative. Sums are of σ_i/σ₁, so that
// squares neither overflow nor underflow. Cost: O(number of σ).
#pragma once
#include <algorithm>
#include <cmath>
#include <span>

#include "../core/types.hpp"

namespace preheat::linalg {

using spectrum_view = std::span<const double>;

namespace detail {

// Σ(σ_i/σ₁)² over `part`; 0 where σ₁ is 0.
inline double relative_energy(spectrum_view part, double first) {
  double sum = 0;
  for (const double s : part) {
    const double ratio = first > 0 ? s / first : 0;
    sum += ratio * ratio;
  }
  return sum;
}

}  // namespace detail

// The part of the energy in the first k values; 1 for a matrix that is zero.
inline double retained_energy(spectrum_view sigma, index_t k) {
  const std::size_t kept = std::min(std::size_t(k), sigma.size());
  const double first = sigma.empty() ? 0 : sigma.front();
  const double all = detail::relative_energy(sigma, first);
  return all > 0 ? detail::relative_energy(sigma.first(kept), first) / all : 1;
}

// The part of `energy`, ‖M‖_F², in these first values of M, at most 1; 1 for a matrix that is zero.
inline double energy_share(spectrum_view kept, double energy) {
  double sum = 0;
  for (const double s : kept) {
    sum += s * s;
  }
  return energy > 0 ? std::min(1.0, sum / energy) : 1;
}

// The relative error of the best approximation of rank k; 0 for a matrix that is zero.
inline double truncation_error(spectrum_view sigma, index_t k) {
  const std::size_t kept = std::min(std::size_t(k), sigma.size());
  const double first = sigma.empty() ? 0 : sigma.front();
  const double near = detail::relative_energy(sigma.first(kept), first);
  const double lost = detail::relative_energy(sigma.subspan(kept), first);
  return lost > 0 ? std::sqrt(lost / (near + lost)) : 0;
}

// The smallest rank that keeps this share of the energy. Values of zero do not count.
inline index_t rank_for_energy(spectrum_view sigma, double share) {
  const double first = sigma.empty() ? 0 : sigma.front();
  const double wanted = share * detail::relative_energy(sigma, first);
  index_t rank = 0;
  double kept = 0;
  while (rank < index_t(sigma.size()) && sigma[rank] > 0 && kept < wanted) {
    const double ratio = sigma[rank++] / first;
    kept += ratio * ratio;
  }
  return rank;
}

// The number of values that are at least σ₁/ratio and not zero.
inline index_t rank_for_ratio(spectrum_view sigma, double ratio) {
  index_t rank = 0;
  while (rank < index_t(sigma.size()) && sigma[rank] > 0 && sigma[rank] * ratio >= sigma.front()) {
    ++rank;
  }
  return rank;
}

// How the rank of an approximation is chosen from a spectrum: the smallest rank that keeps this share
// of the energy, or the values of at least σ₁/ratio. Exactly one of the two is given, and not 0.
struct rank_choice {
  double energy = 0;
  double ratio = 0;
  index_t most = 0;  // the largest rank allowed; 0: as many as there are values
};

// The rank chosen, at least 1. Errors: not exactly one criterion, an energy above 1, a ratio below 1.
inline index_t choose_rank(spectrum_view sigma, const rank_choice& choice) {
  require((choice.energy != 0) != (choice.ratio != 0),
          "the rank is chosen by energy or by ratio, by one of the two");
  require(choice.energy >= 0 && choice.energy <= 1, "0 < energy to be kept <= 1", choice.energy,
          1.0);
  require(choice.ratio == 0 || choice.ratio >= 1, "ratio of the first to the last value kept >= 1",
          choice.ratio, 1.0);
  require(choice.most >= 0, "largest rank allowed >= 0", choice.most, 0);
  const index_t rank = choice.energy > 0 ? rank_for_energy(sigma, choice.energy)
                                         : rank_for_ratio(sigma, choice.ratio);
  const index_t most = choice.most > 0 ? choice.most : std::max<index_t>(1, index_t(sigma.size()));
  return std::clamp<index_t>(rank, 1, most);
}

// The number of values that are above the rounding of arithmetic of this epsilon.
inline index_t numerical_rank(spectrum_view sigma, double epsilon) {
  index_t rank = 0;
  while (rank < index_t(sigma.size()) && sigma[rank] > 0 &&
         sigma[rank] > double(sigma.size()) * epsilon * sigma.front()) {
    ++rank;
  }
  return rank;
}

// The effective rank; 0 for a matrix that is zero.
inline double effective_rank(spectrum_view sigma) {
  double sum = 0;
  for (const double s : sigma) {
    sum += s;
  }
  double entropy = 0;
  for (const double s : sigma) {
    const double p = sum > 0 ? s / sum : 0;
    entropy -= p > 0 ? p * std::log(p) : 0;
  }
  return sum > 0 ? std::exp(entropy) : 0;
}

}  // namespace preheat::linalg
