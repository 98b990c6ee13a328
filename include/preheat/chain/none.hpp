// No chain: one adapter for the whole run, and W stays as it is.
#pragma once
#include "../core/concepts.hpp"

namespace preheat::chain {

struct none {
  using axis = axes::chain;
  using hooks = hook_list<>;
  static constexpr bool folds = false;
  template <class Be>
  using state = no_state<Be>;
};

}  // namespace preheat::chain
