// No chain: one adapter for the whole run, and W is unchanged.
#pragma once
#include "../core/concepts.hpp"

namespace preheat::chain {

struct none {
  using axis = axes::chain;
  static constexpr bool merges = false;
  template <class Be>
  using state = no_state<Be>;
};

}  // namespace preheat::chain
