// One init for the first start of a run and another for every later start: for example HRP for the
// first block of a chain and random factors for the others, or for the ranks that ALoRA adds.
//
//   using my_chain = with<rac_lora, init::first_then<init::hrp<>, init::orthogonal>>;
//   my_chain m{.init = {.first = {.steps = 5}}};
//
// Without it, a chain calibrates the first init again in every round, and every round costs the
// steps of that. Cost: that of `first` once, and that of `later` for every later start.
#pragma once
#include <type_traits>

#include "../core/concepts.hpp"

namespace preheat::init {

template <class First, class Later>
struct first_then {
  static_assert(learns_from_data<First> && !learns_from_data<Later>,
                "preheat: init::first_then takes an init that learns from the data (init::hrp<>) "
                "and then one that does not (init::orthogonal)");
  static_assert(First::product == Later::product,
                "preheat: both inits of init::first_then start from the same product: zero, or "
                "subtracted from W");
  using axis = axes::init;
  static constexpr initial_product product = First::product;
  template <class Be>
  using calibration = typename First::template calibration<Be>;

  First first{};
  Later at_restart{};  // the init of every start but the first (restart_init)

  index_t calibration_steps(index_t all) const { return first.calibration_steps(all); }

  template <class Context>
  auto calibrate(Context& context) const {
    return first.calibrate(context);
  }
  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s, const calibration<Be>& e) const {
    return first(be, s, e);
  }
};

}  // namespace preheat::init
