// Ranks that change linearly from the first adapted layer to the last, as in PRILoRA (Benedek,
// Wolf, arXiv 2401.11316):
//
//   r_l = round(r_first + (r_last − r_first)·l/(L − 1)),  l = 0 … L − 1;  L = 1: r_last
//
// [paper] 4 to 12 over 12 layers: 4 5 5 6 7 8 8 9 10 11 11 12, in sum 96 = 12·8. [preheat] Without
// settings the ranks go from half of the rank r in the options to 2·r minus that half, so that
// their mean is r; for r = 8 these are the paper's. Rounding can make the sum differ from L·r;
// `budget` requires a sum. Errors: a rank < 1; a sum of ranks that is not the budget.
#pragma once
#include <algorithm>
#include <cmath>

#include "../core/concepts.hpp"

namespace preheat::rank {

struct linear {
  using axis = axes::rank;
  template <class Be>
  using state = no_state<Be>;

  index_t first = 0;   // 0: half of options.rank, at least 1
  index_t last = 0;    // 0: twice options.rank − first
  index_t budget = 0;  // > 0: the required sum of the ranks of all layers

  index_t initial_rank(index_t l, index_t layers, index_t wanted) const {
    const index_t from = first != 0 ? first : std::max<index_t>(1, wanted / 2);
    const index_t to = last != 0 ? last : 2 * wanted - from;
    require(from >= 1 && to >= 1, "rank::linear: first and last rank >= 1", from, to);
    if (budget > 0) {
      index_t sum = 0;
      for (index_t k = 0; k < layers; ++k) {
        sum += on_line(from, to, k, layers);
      }
      require(sum == budget, "rank::linear: sum of ranks = budget", sum, budget);
    }
    return on_line(from, to, l, layers);
  }

 private:
  static index_t on_line(index_t from, index_t to, index_t l, index_t layers) {
    if (layers == 1) {
      return to;
    }
    const double passed = double(l) / double(layers - 1);
    return index_t(std::lround(double(from) + double(to - from) * passed));
  }
};

}  // namespace preheat::rank
