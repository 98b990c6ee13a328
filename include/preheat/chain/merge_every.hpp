// A chain of adapters: train for a block of steps, merge s·B·A into W, start the adapter again from
// the method's own init, and repeat. Optimizer states start afresh with each block, unless
// `keep_state`; the learning-rate schedule does not. The last block is merged at the end, complete
// or not.
//
//   repeat:  A, B from the init;  `period` steps;  W += s·B·A
//
// With adapter::lora it is COLA ("Chain of LoRA", arXiv 2401.04151); with adapter::asymmetric,
// which freezes one factor at its random start, RAC-LoRA ("Randomized Asymmetric Chain of LoRA",
// arXiv 2410.08305). With optim::scaled<optim::sgd> one step from a fresh start is W − γ·s²·G·H
// with H = Aᵀ(AAᵀ)⁺A, which at r = n is gradient descent (if A is trained: W − γ·s²·H·G with H =
// B(BᵀB)⁺Bᵀ, and r = m). [preheat] `period` is a setting.
//
// RAC-LoRA's released code (github.com/hammoudhasan/RACLora, an author's, on MNIST) differs from the
// paper's analysis: draws from N(0, 1), s = α without r, and one AdamW over all blocks, whose moments
// and step count a merge leaves alone. `keep_state` does the last: the moments of the old factors
// go on with the new ones.
#pragma once
#include <type_traits>
#include <utility>
#include <vector>

#include "../core/concepts.hpp"

namespace preheat::chain {

namespace detail {
// Merges a block that has ended, and starts the next one by draw().
template <class Run, class Draw>
void start_next_block(Run& run, index_t period, Draw draw) {
  if (run.steps_done() > 0 && run.steps_done() % period == 0) {
    run.merge(run.targets());
    draw();
  }
}
}  // namespace detail

struct merge_every {
  using axis = axes::chain;
  static constexpr bool merges = true;
  template <class Be>
  using state = no_state<Be>;

  index_t period = 25;      // steps of a block
  bool keep_state = false;  // the optimizer's state goes on through merges

  template <class Run>
  void on(hook::begin, Run& run) const {
    require(period >= 1, "chain::merge_every: period >= 1", period, 1);
    run.attach(run.targets());
  }
  template <class Run>
  void on(hook::before_step, Run& run) const {
    detail::start_next_block(
        run, period, [&] { keep_state ? attach_with_states(run) : run.attach(run.targets()); });
  }
  template <class Run>
  void on(hook::finish, Run& run) const {
    run.merge(run.targets());
  }

 private:
  // Starts the next block, and gives every layer the optimizer's state that it had.
  template <class Run>
  static void attach_with_states(Run& run) {
    using optim_state = std::remove_cvref_t<decltype(run.adapters.optimizer(0))>;
    std::vector<std::pair<index_t, optim_state>> old;  // the rank, and the state of it
    for (const index_t l : run.targets()) {
      old.emplace_back(run.rank_of(l), std::move(run.adapters.optimizer(l)));
    }
    run.attach(run.targets());
    for (std::size_t i = 0; i < old.size(); ++i) {
      const index_t l = run.targets()[i];
      require(run.rank_of(l) == old[i].first,
              "chain::merge_every: an optimizer's state is kept at the rank of its layer",
              run.rank_of(l), old[i].first);
      run.adapters.optimizer(l) = std::move(old[i].second);
    }
  }
};

}  // namespace preheat::chain
