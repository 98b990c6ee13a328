// SoRA's end (arXiv 2311.11696): the ranks whose gate has become zero are dropped, the others take
// their gate into B, and the gate becomes 1:
//
//   B[:,k] ← g_k·B[:,k],  g_k ← 1   for g_k ≠ 0;   s stays what it was at r_max
//
// so that a smaller adapter gives the same output. A layer with no rank left loses its adapter.
// During training ranks stay: a closed gate may open again.
#pragma once
#include <vector>

#include "../core/concepts.hpp"

namespace preheat::rank {

struct sparse_gate {
  using axis = axes::rank;
  using hooks = hook_list<hook::finish>;
  template <class Be>
  using state = no_state<Be>;

  index_t of(index_t, index_t, index_t wanted) const { return wanted; }

  template <class Run>
  void finish(Run& run) const {
    static_assert(
        trains<typename Run::params>(role::gate),
        "preheat: rank::sparse_gate drops the ranks of closed gates; use adapter::gated<>");
    auto& be = run.backend();
    for (const index_t l : run.targets()) {
      auto& slot = run.lin.slots()[std::size_t(l)];
      if (!slot.attached) {
        continue;
      }
      const auto gates = be.download(slot.parameters.g);
      std::vector<index_t> open;
      for (std::size_t k = 0; k < gates.size(); ++k) {
        if (gates[k] != 0) {
          open.push_back(index_t(k));
        }
      }
      run.select_ranks(l, open, 0);
      be.scale_cols(slot.parameters.g, slot.parameters.B);
      be.fill(1, slot.parameters.g);
    }
  }
};

}  // namespace preheat::rank
