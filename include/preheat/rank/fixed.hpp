// The same rank in every layer: the one that `fit` is asked for.
#pragma once
#include "../core/concepts.hpp"

namespace preheat::rank {

struct fixed {
  using axis = axes::rank;
  using hooks = hook_list<>;
  template <class Be>
  using state = no_state<Be>;

  index_t of(index_t, index_t, index_t wanted) const { return wanted; }
};

}  // namespace preheat::rank
