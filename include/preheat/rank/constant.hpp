// One rank for every layer, whatever the rank in the options: XGBLoRA's boosters have rank 1.
#pragma once
#include "../core/concepts.hpp"

namespace preheat::rank {

struct constant {
  using axis = axes::rank;
  template <class Be>
  using state = no_state<Be>;

  index_t value = 1;

  index_t initial_rank(index_t, index_t, index_t) const { return value; }
};

}  // namespace preheat::rank
