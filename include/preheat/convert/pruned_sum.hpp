// Weighted sums of tensors of which only a part is kept, as PEFT computes them on the factors of adapters
// (combination_type of add_weighted_adapter). x_i are the tensors, w_i their weights, d the density:
//
//   magnitude_prune   Σ w_i·top(x_i), top the ⌊d·n⌋ entries of largest magnitude
//   ties              with x_i pruned like that, of each entry those whose sign is the majority's: Σ w_i·x_i of
//                     them by their number (Yadav et al., TIES-Merging, NeurIPS 2023)
//   dare_linear       Σ w_i·x_i·m_i/d, each m_i 1 with probability d (Yu et al., DARE, arXiv 2311.03099)
//   dare_ties         both
//
// The majority's sign is that of Σ x_i ("total"), or of the signs' sum ("frequency"); 0 counts as +. A density
// of 1 or more keeps all.
//
// Errors: no tensor, not one weight for each, sizes that differ, a density that is not > 0. Cost: O(n) each.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "../core/error.hpp"
#include "../core/random.hpp"
#include "../core/types.hpp"

namespace preheat {

enum class pruning { magnitude_prune, ties, dare_linear, dare_ties };
enum class majority { total, frequency };

struct pruned_sum_options {
  pruning kind = pruning::ties;
  double density = 0.5;
  majority sign = majority::total;
};

namespace detail {

template <class T>
void keep_largest(std::vector<T>& x, double density) {
  const std::size_t kept = std::size_t(density * double(x.size()));
  std::vector<std::uint32_t> order(x.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto larger = [&](std::uint32_t a, std::uint32_t b) {
    return std::abs(x[a]) != std::abs(x[b]) ? std::abs(x[a]) > std::abs(x[b]) : a < b;
  };
  std::nth_element(order.begin(), order.begin() + std::ptrdiff_t(kept), order.end(), larger);
  for (std::size_t i = kept; i < order.size(); ++i) {
    x[order[i]] = 0;
  }
}

template <class T>
void keep_by_chance(std::vector<T>& x, double density, const generator& gen) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    const bool kept = gen.uniforms(i)[0] < density;
    x[i] = kept ? T(double(x[i]) / density) : T(0);
  }
}

// The majority's sign of every entry.
template <class T>
std::vector<T> elected_signs(const std::vector<std::vector<T>>& all, majority sign) {
  std::vector<T> elected(all.front().size());
  for (std::size_t j = 0; j < elected.size(); ++j) {
    T sum = 0;
    for (const std::vector<T>& x : all) {
      sum += sign == majority::total ? x[j] : T((x[j] > 0) - (x[j] < 0));
    }
    elected[j] = sum >= 0 ? T(1) : T(-1);
  }
  return elected;
}

}  // namespace detail

template <class T>
std::vector<T> pruned_sum(std::vector<std::vector<T>> all, std::span<const double> weights,
                          const pruned_sum_options& options, const generator& gen) {
  require(!all.empty() && weights.size() == all.size(), "pruned_sum: one weight for each tensor",
          weights.size(), all.size());
  require(options.density > 0, "pruned_sum: density > 0", options.density, 0);
  const std::size_t size = all.front().size();
  const bool by_chance = options.kind == pruning::dare_linear || options.kind == pruning::dare_ties;
  for (std::size_t i = 0; i < all.size(); ++i) {
    require(all[i].size() == size, "pruned_sum: tensors of one size", all[i].size(), size);
    if (options.density < 1) {
      if (by_chance) {
        detail::keep_by_chance(all[i], options.density, gen.fork(purpose::user, i));
      } else {
        detail::keep_largest(all[i], options.density);
      }
    }
  }
  const bool elects = options.kind == pruning::ties || options.kind == pruning::dare_ties;
  const std::vector<T> elected =
      elects ? detail::elected_signs(all, options.sign) : std::vector<T>();
  std::vector<T> sum(size);
  for (std::size_t j = 0; j < size; ++j) {
    T total = 0;
    T count = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const T x = all[i][j];
      if (elects && T((x > 0) - (x < 0)) != elected[j]) {
        continue;
      }
      total += T(weights[i]) * x;
      count += 1;
    }
    sum[j] = elects && count > 1 ? total / count : total;
  }
  return sum;
}

}  // namespace preheat
