// A chain of adapters: train for a block of steps, fold s·B·A into W, draw the adapter again from
// the method's own init, go on. Optimizer states start afresh with each block; the learning-rate
// schedule does not. The last block, whole or not, is folded at the end.
//
//   repeat:  A, B from the init;  `period` steps;  W += s·B·A
//
// With adapter::lora it is COLA ("Chain of LoRA", arXiv 2401.04151); with adapter::asymmetric, which
// freezes one factor at its draw, RAC-LoRA ("Randomized Asymmetric Chain of LoRA", arXiv
// 2410.08305). With optim::scaled<optim::sgd> one step from a fresh start is W − γ·s²·G·H with
// H = Aᵀ(AAᵀ)⁺A, at r = n gradient descent (when A is trained W − γ·s²·H·G with H = B(BᵀB)⁺Bᵀ, and
// r = m). `period` is ours.
#pragma once
#include "../core/concepts.hpp"

namespace preheat::chain {

namespace detail {
// Folds a block that is over, and starts the next by draw().
template <class Run, class Draw>
void start_next_block(Run& run, index_t period, Draw draw) {
  if (run.steps_done() > 0 && run.steps_done() % period == 0) {
    run.fold(run.targets());
    draw();
  }
}
}  // namespace detail

struct merge_every {
  using axis = axes::chain;
  using hooks = hook_list<hook::begin, hook::before_step, hook::finish>;
  static constexpr bool folds = true;
  template <class Be>
  using state = no_state<Be>;

  index_t period = 25;  // steps of a block

  template <class Run>
  void begin(Run& run) const {
    require(period >= 1, "chain::merge_every: period >= 1", period, 1);
    run.attach(run.targets());
  }
  template <class Run>
  void before_step(Run& run) const {
    detail::start_next_block(run, period, [&] { run.attach(run.targets()); });
  }
  template <class Run>
  void finish(Run& run) const {
    run.fold(run.targets());
  }
};

}  // namespace preheat::chain
