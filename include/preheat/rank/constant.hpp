// One rank for every layer, whatever rank `fit` is asked for: XGBLoRA's boosters have rank 1.
#pragma once
#include "../core/concepts.hpp"

namespace preheat::rank {

struct constant {
  using axis = axes::rank;
  using hooks = hook_list<>;
  template <class Be>
  using state = no_state<Be>;

  index_t value = 1;

  index_t of(index_t, index_t, index_t) const { return value; }
};

}  // namespace preheat::rank
