// AdaLoRA's allocation of ranks ("AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient
// Fine-Tuning", arXiv 2303.10512): of all triplets (row of A, gate E_k, column of B) of the network
// the least important ones (rank/triplet_importance.hpp) are masked, until a budget is met.
//
//   budget after t of T steps:  b_0 = the sum of the ranks at the start              t <= t_i
//                               b_T + ⌊(b_0 − b_T)·(1 − (t − t_i)/(T − t_i − t_f))³⌋  between
//                               b_T = r_target·layers                                t >= T − t_f
//
// Every Δt steps, and at T − t_f, the triplets beyond the budget get E = 0, lowest score first (of
// equals the earlier one). Their E, A and B train on, so they may return at the next allocation;
// from T − t_f on the choice is final and E is masked after every step. At the end of the run masked
// triplets are dropped and E goes into B (rank::sparse_gate): the same output, the same s.
//
// Ranks at the start are fit's; t counts steps done; the gradient is that of the loss with its
// penalties, before clipping, and goes with the parameters it was taken at, as in the paper (PEFT
// takes them after the step). As in PEFT: b is rounded down, Δt divides t, importance rests from
// T − t_f on. Defaults are PEFT's; r_target follows from b_0 = 1.5·b_T, the paper's ratio. A run
// that ends early keeps the triplets that it then has.
//
// Errors: r_target above the rank; t_i + t_f + 1 >= T; β outside [0, 1); an adapter without trained
// gates (at compile time). Cost of an allocation: a sort of all scores on the host.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "sparse_gate.hpp"
#include "triplet_importance.hpp"

namespace preheat::rank {

struct adalora {
  using axis = axes::rank;
  using hooks = hook_list<hook::after_backward, hook::after_step, hook::finish>;

  index_t target = 0;   // r_target, the mean rank at the end; 0: two thirds of fit's rank
  index_t warmup = 0;   // t_i, steps before the budget falls
  index_t settled = 0;  // t_f, steps after the last allocation
  index_t every = 1;    // Δt
  double beta1 = 0.85;
  double beta2 = 0.85;
  bool prune = true;  // drop masked triplets at the end

  template <class Be>
  struct layer_state {
    triplet_importance<Be> importance;
    mat<Be> alive;  // r×1: 1, or 0 for a masked triplet; empty before the first allocation
    template <class Archive>
    void archive(Archive& ar) {
      ar("importance", importance);
      ar("alive", alive);
    }
  };
  template <class Be>
  struct state {
    std::vector<layer_state<Be>> layers;  // of the whole network
    template <class Archive>
    void archive(Archive& ar) {
      ar("layers", layers);
    }
  };

  index_t of(index_t, index_t, index_t wanted) const {
    require(0 <= target && target <= wanted, "rank::adalora: 0 <= target <= rank", target, wanted);
    require(warmup >= 0 && settled >= 0, "rank::adalora: warmup, settled >= 0", warmup, settled);
    require(every >= 1, "rank::adalora: every >= 1", every, 1);
    require(0 <= beta1 && beta1 < 1 && 0 <= beta2 && beta2 < 1,
            "rank::adalora: 0 <= beta1, beta2 < 1", beta1, beta2);
    return wanted;
  }

  // How many triplets live after t of T steps; b_0 = whole, b_T = last.
  index_t budget(index_t t, index_t T, index_t whole, index_t last) const {
    if (t <= warmup) {
      return whole;
    }
    if (t >= T - settled) {
      return last;
    }
    const double left = 1 - double(t - warmup) / double(T - warmup - settled);
    return last + index_t(std::floor(double(whole - last) * left * left * left));
  }

  template <class Run>
  void after_backward(Run& run) const {
    using P = typename Run::params;
    static_assert(trains<P>(role::A) && trains<P>(role::B) && trains<P>(role::gate),
                  "preheat: rank::adalora weighs triplets of A, B and a trained gate; use "
                  "adapter::gated<adapter::gate::closed>");
    require(warmup + settled + 1 < run.steps_planned(),
            "rank::adalora: warmup + settled + 1 < steps", warmup + settled + 1,
            run.steps_planned());
    auto& layers = run.rank_state.layers;
    layers.resize(run.net.layers().size());
    for (const index_t l : run.targets()) {
      const auto& slot = run.lin.slots()[std::size_t(l)];
      if (slot.attached && run.steps_done() + 1 < run.steps_planned() - settled) {
        layers[std::size_t(l)].importance.observe(run.backend(), slot.parameters, slot.gradient,
                                                  beta1, beta2);
      }
    }
  }
  template <class Run>
  void after_step(Run& run) const {
    const index_t t = run.steps_done();
    const index_t last = run.steps_planned() - settled;
    const bool allocating = t > warmup && (t == last || (t < last && t % every == 0));
    if (allocating) {
      allocate(run);
    }
    if (allocating || t > last) {
      mask(run);
    }
  }
  template <class Run>
  void finish(Run& run) const {
    if (prune) {
      sparse_gate{}.finish(run);
    }
  }

 private:
  struct triplet {
    double score;
    index_t layer;
    index_t rank;
  };

  // Decides which triplets live.
  template <class Run>
  void allocate(Run& run) const {
    using T = typename Run::scalar;
    std::vector<std::vector<T>> alive(run.net.layers().size());
    std::vector<triplet> all;
    index_t layers = 0;
    for (const index_t l : run.targets()) {
      const auto& importance = run.rank_state.layers[std::size_t(l)].importance;
      if (run.lin.slots()[std::size_t(l)].attached && importance.rank() == run.rank_of(l)) {
        const std::vector<T> scores = importance.scores(run.backend());
        for (std::size_t k = 0; k < scores.size(); ++k) {
          all.push_back({std::isnan(scores[k]) ? 0 : double(scores[k]), l, index_t(k)});
        }
        alive[std::size_t(l)].assign(scores.size(), T(1));
        ++layers;
      }
    }
    std::stable_sort(all.begin(), all.end(),
                     [](const triplet& a, const triplet& b) { return a.score < b.score; });
    const index_t whole = index_t(all.size());
    const index_t mean = target > 0 ? target : std::max<index_t>(1, 2 * run.options.rank / 3);
    const index_t live =
        budget(run.steps_done(), run.steps_planned(), whole, std::min(whole, mean * layers));
    for (index_t i = 0; i < whole - live; ++i) {
      const triplet& masked = all[std::size_t(i)];
      alive[std::size_t(masked.layer)][std::size_t(masked.rank)] = 0;
    }
    for (std::size_t l = 0; l < alive.size(); ++l) {
      auto& kept = run.rank_state.layers[l].alive;
      kept = run.backend().zeros(index_t(alive[l].size()), 1);
      run.backend().upload(alive[l], kept);
    }
  }
  // E = alive ⊙ E
  template <class Run>
  static void mask(Run& run) {
    for (const index_t l : run.targets()) {
      auto& slot = run.lin.slots()[std::size_t(l)];
      const auto& alive = run.rank_state.layers[std::size_t(l)].alive;
      if (slot.attached && alive.rows() == run.rank_of(l)) {
        run.backend().scale_rows(alive, slot.parameters.g);
      }
    }
  }
};

}  // namespace preheat::rank
