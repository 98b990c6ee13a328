// The same rank in every layer: the one in the options.
#pragma once
#include "../core/concepts.hpp"

namespace preheat::rank {

struct fixed {
  using axis = axes::rank;
  template <class Be>
  using state = no_state<Be>;

  index_t initial_rank(index_t, index_t, index_t wanted) const { return wanted; }
};

}  // namespace preheat::rank
