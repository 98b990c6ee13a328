// One init for the first start of a run, another for every start after it: HRP for the first block
// of a chain and random draws for the rest, or for the ranks that ALoRA adds on the way.
//
//   using my_chain = with<rac_lora, init::first_then<init::hrp<>, init::orthogonal>>;
//   my_chain m{.init = {.first = {.steps = 5}}};
//
// Without it a chain gathers the first init's evidence again at every round, and pays for it.
// Cost: that of `first` once, of `later` from then on.
#pragma once
#include <type_traits>

#include "../core/concepts.hpp"

namespace preheat::init {

template <class First, class Later>
struct first_then {
  static_assert(gathers_evidence<First> && !gathers_evidence<Later>,
                "preheat: init::first_then takes an init that learns from the data (init::hrp<>) "
                "and then one that does not (init::orthogonal)");
  static_assert(First::product == Later::product,
                "preheat: both inits of init::first_then start from the same product: zero, or "
                "absorbed by W");
  static_assert(std::is_same_v<typename First::hooks, hook_list<>> &&
                    std::is_same_v<typename Later::hooks, hook_list<>>,
                "preheat: init::first_then calls no hooks of its inits");

  using axis = axes::init;
  using hooks = hook_list<>;
  static constexpr start product = First::product;
  static constexpr evidence_kind needs = First::needs;
  template <class Be>
  using evidence = typename First::template evidence<Be>;

  First first{};
  Later later{};  // the run asks it for every start but the first (later_init)

  index_t cost(index_t all) const { return first.cost(all); }

  template <class Scene>
  auto gather(Scene& scene) const {
    return first.gather(scene);
  }
  template <backend Be>
  factors<Be> operator()(Be& be, const site<Be>& s, const evidence<Be>& e) const {
    return first(be, s, e);
  }
};

}  // namespace preheat::init
