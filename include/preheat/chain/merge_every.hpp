// A chain of adapters: train for a block of steps, merge s·B·A into W, start the adapter again from
// the method's own init, and repeat. Optimizer states start afresh with each block; the
// learning-rate schedule does not. The last block is merged at the end, complete or not.
//
//   repeat:  A, B from the init;  `period` steps;  W += s·B·A
//
// With adapter::lora it is COLA ("Chain of LoRA", arXiv 2401.04151); with adapter::asymmetric,
// which freezes one factor at its random start, RAC-LoRA ("Randomized Asymmetric Chain of LoRA",
// arXiv 2410.08305). With optim::scaled<optim::sgd> one step from a fresh start is W − γ·s²·G·H
// with H = Aᵀ(AAᵀ)⁺A, which at r = n is gradient descent (if A is trained: W − γ·s²·H·G with H =
// B(BᵀB)⁺Bᵀ, and r = m). [preheat] `period` is a setting.
#pragma once
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

  index_t period = 25;  // steps of a block

  template <class Run>
  void on(hook::begin, Run& run) const {
    require(period >= 1, "chain::merge_every: period >= 1", period, 1);
    run.attach(run.targets());
  }
  template <class Run>
  void on(hook::before_step, Run& run) const {
    detail::start_next_block(run, period, [&] { run.attach(run.targets()); });
  }
  template <class Run>
  void on(hook::finish, Run& run) const {
    run.merge(run.targets());
  }
};

}  // namespace preheat::chain
