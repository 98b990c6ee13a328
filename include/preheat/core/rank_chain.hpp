// The contracts of the two axes that act during a run: rank, which sets the rank of each layer, and
// chain, which merges ΔW into W and starts the adapter again.
//
// A complete rank policy: the later half of the layers gets twice the rank.
//
//   struct more_at_the_end {
//     using axis = preheat::axes::rank;
//     template <class Be>
//     using state = preheat::no_state<Be>;
//
//     preheat::index_t initial_rank(preheat::index_t layer, preheat::index_t layers,
//                         preheat::index_t wanted) const {
//       return 2 * layer < layers ? wanted : 2 * wanted;
//     }
//   };
//
// A complete chain: ΔW is merged into W at the end of the run.
//
//   struct merged_at_the_end {
//     using axis = preheat::axes::chain;
//     static constexpr bool merges = true;
//     template <class Be>
//     using state = preheat::no_state<Be>;
//
//     template <class Run>
//     void on(preheat::hook::finish, Run& run) const {
//       run.merge(run.targets());
//     }
//   };
#pragma once
#include <concepts>

#include "backend.hpp"
#include "hooks.hpp"
#include "types.hpp"

namespace preheat {

// State of a policy that stores nothing between steps.
template <class Be>
struct no_state {
  template <class Archive>
  void archive(Archive&) {}
};

// rank: the rank of every layer at its start, given `wanted`, the rank in the options. Hooks change
// it later through run.select_ranks.
template <class R, class Be>
concept rank_policy = std::same_as<typename R::axis, axes::rank> &&
    std::default_initializable<typename R::template state<Be>> &&
    requires(const R rank, index_t layer, index_t layers, index_t wanted) {
  { rank.initial_rank(layer, layers, wanted) } -> std::same_as<index_t>;
};

// chain: when ΔW is merged into W and the adapter started again, all in hooks, through run.merge
// and run.attach. `merges` says whether it writes to W.
template <class C, class Be>
concept chain_policy = std::same_as<typename C::axis, axes::chain> &&
    std::default_initializable<typename C::template state<Be>> && requires {
  { C::merges } -> std::convertible_to<bool>;
};

}  // namespace preheat
