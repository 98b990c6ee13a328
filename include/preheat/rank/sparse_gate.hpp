// The end of SoRA (arXiv 2311.11696): ranks whose gate has become zero are dropped; the gates of
// the others are multiplied into B and become 1:
//
//   B[:,k] ← g_k·B[:,k],  g_k ← 1   for g_k ≠ 0;   s stays that of r_max
//
// so that a smaller adapter gives the same output. A layer with no rank left loses its adapter.
// Ranks do not change during training, because a gate of zero may become nonzero again.
#pragma once
#include <vector>

#include "../core/concepts.hpp"

namespace preheat::rank {

struct sparse_gate {
  using axis = axes::rank;
  template <class Be>
  using state = no_state<Be>;

  index_t initial_rank(index_t, index_t, index_t wanted) const { return wanted; }

  template <class Run>
  void on(hook::finish, Run& run) const {
    static_assert(
        trains<typename Run::params>(parameter_role::gate),
        "preheat: rank::sparse_gate drops the ranks whose gates are zero; use adapter::gated<>");
    auto& be = run.backend();
    for (const index_t l : run.targets()) {
      auto& adapted_layer = run.adapters.layers()[l];
      if (!adapted_layer.attached) {
        continue;
      }
      const auto gates = be.download(adapted_layer.parameters.g);
      std::vector<index_t> open;
      for (std::size_t k = 0; k < gates.size(); ++k) {
        if (gates[k] != 0) {
          open.push_back(index_t(k));
        }
      }
      run.select_ranks(l, open, 0);
      be.scale_cols(adapted_layer.parameters.g, adapted_layer.parameters.B);
      be.fill(1, adapted_layer.parameters.g);
    }
  }
};

}  // namespace preheat::rank
