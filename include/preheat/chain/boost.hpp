// Gradient boosting of adapters: XGBLoRA ("Less is More: Extreme Gradient Boost Rank-1 Adaption for
// Efficient Finetuning of LLMs", arXiv 2410.19694). A booster is a rank-1 adapter (rank::constant)
// on a random subset of the layers, trained for κ steps and merged:
//
//   repeat:  S = L_s layers without replacement;  for l in S: A from the init, B = 0, state reset;
//            κ steps in which only S trains;  for l in S: W_l += s·B·A
//
// The learning-rate schedule runs over all boosters; the last booster is merged at the end,
// complete or not. So rank(W_T − W_0) of a layer <= the number of its boosters. [paper] (its
// summary) rank 1, random layers, booster weight 1, which is a setting of the run: fit(xgblora{},
// …, {.scaling = scaling::constant(1)}). [preheat] κ = 8, all layers, no penalty
// (optim::adam{.weight_decay = 2λ} adds λ(‖A‖² + ‖B‖²) to the loss).
#pragma once
#include <vector>

#include "merge_every.hpp"

namespace preheat::chain {

struct boost {
  using axis = axes::chain;
  static constexpr bool merges = true;
  template <class Be>
  struct state {
    index_t boosters = 0;  // started so far
    template <class Archive>
    void archive(Archive& ar) {
      ar("boosters", boosters);
    }
  };

  index_t period = 8;  // κ, steps of a booster
  index_t layers = 0;  // L_s; 0: all

  template <class Run>
  void on(hook::begin, Run& run) const {
    require(period >= 1, "chain::boost: period >= 1", period, 1);
    require(0 <= layers && layers <= index_t(run.targets().size()),
            "chain::boost: 0 <= layers of a booster <= adapted layers", layers,
            run.targets().size());
    start_booster(run);
  }
  template <class Run>
  void on(hook::before_step, Run& run) const {
    detail::start_next_block(run, period, [&] { start_booster(run); });
  }
  template <class Run>
  void on(hook::finish, Run& run) const {
    run.merge(run.targets());
  }

 private:
  template <class Run>
  void start_booster(Run& run) const {
    const index_t number = run.chain_state.boosters++;
    const std::vector<index_t>& all = run.targets();
    std::vector<index_t> chosen;
    for (const index_t place :
         random_subset(layers > 0 ? layers : index_t(all.size()), index_t(all.size()),
                       run.stream(purpose::subset, number))) {
      chosen.push_back(all[place]);
    }
    run.attach(chosen);
  }
};

}  // namespace preheat::chain
