// AdaLoRA's allocation of ranks ("AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient
// Fine-Tuning", arXiv 2303.10512): of all triplets (row of A, gate E_k, column of B) of the
// network, the least important ones (rank/triplet_importance.hpp) are masked until a budget is met.
//
//   budget after t of T steps:  b_0 = the sum of the ranks at the start              t <= t_i
//                               b_T + ⌊(b_0 − b_T)·(1 − (t − t_i)/(T − t_i − t_f))³⌋  between
//                               b_T = r_target·layers                                t >= T − t_f
//
// Every Δt steps, and at T − t_f, the triplets beyond the budget get E = 0, the lowest score first
// (of equal scores the earlier triplet). Their E, A and B are still trained, so they may return at
// the next allocation; from T − t_f on the choice is final and E is masked after every step. At the
// end of the run masked triplets are dropped and E is multiplied into B (rank::sparse_gate), which
// changes neither the output nor s.
//
// The ranks at the start are those of the options; t counts finished steps. [paper] The gradient is
// that of the loss with its penalties, before clipping, and is combined with the parameters at
// which it was computed ([PEFT] uses the parameters after the step); b_0 = 1.5·b_T, which gives the
// default r_target. [PEFT] b is rounded down, Δt divides t, the importance is not updated from T −
// t_f on; the other defaults are PEFT's. A run that ends early keeps the triplets that are not
// masked then.
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

  index_t target = 0;       // r_target, the mean rank at the end; 0: two thirds of options.rank
  index_t warmup = 0;       // t_i, steps before the budget falls
  index_t final_steps = 0;  // t_f, steps after the last allocation
  index_t every = 1;        // Δt
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

  index_t initial_rank(index_t, index_t, index_t wanted) const {
    require(0 <= target && target <= wanted, "rank::adalora: 0 <= target <= rank", target, wanted);
    require(warmup >= 0 && final_steps >= 0, "rank::adalora: warmup, final_steps >= 0", warmup,
            final_steps);
    require(every >= 1, "rank::adalora: every >= 1", every, 1);
    require(0 <= beta1 && beta1 < 1 && 0 <= beta2 && beta2 < 1,
            "rank::adalora: 0 <= beta1, beta2 < 1", beta1, beta2);
    return wanted;
  }

  // The number of triplets that are not masked after t of T steps; b_0 = whole, b_T = last.
  index_t budget(index_t t, index_t T, index_t whole, index_t last) const {
    if (t <= warmup) {
      return whole;
    }
    if (t >= T - final_steps) {
      return last;
    }
    const double left = 1 - double(t - warmup) / double(T - warmup - final_steps);
    return last + index_t(std::floor(double(whole - last) * left * left * left));
  }

  template <class Run>
  void on(hook::after_backward, Run& run) const {
    using P = typename Run::params;
    static_assert(trains<P>(parameter_role::A) && trains<P>(parameter_role::B) &&
                      trains<P>(parameter_role::gate),
                  "preheat: rank::adalora weighs triplets of A, B and a trained gate; use "
                  "adapter::gated<adapter::gate::closed>");
    require(warmup + final_steps + 1 < run.steps_planned(),
            "rank::adalora: warmup + final_steps + 1 < steps", warmup + final_steps + 1,
            run.steps_planned());
    auto& layers = run.rank_state.layers;
    layers.resize(run.layers().size());
    for (const index_t l : run.targets()) {
      const auto& adapted_layer = run.adapters.layers()[l];
      if (adapted_layer.attached && run.steps_done() + 1 < run.steps_planned() - final_steps) {
        layers[l].importance.observe(run.backend(), adapted_layer.parameters,
                                     adapted_layer.gradient, beta1, beta2);
      }
    }
  }
  template <class Run>
  void on(hook::after_step, Run& run) const {
    const index_t t = run.steps_done();
    const index_t last = run.steps_planned() - final_steps;
    const bool allocating = t > warmup && (t == last || (t < last && t % every == 0));
    if (allocating) {
      allocate(run);
    }
    if (allocating || t > last) {
      mask(run);
    }
  }
  template <class Run>
  void on(hook::finish, Run& run) const {
    if (prune) {
      sparse_gate{}.on(hook::finish{}, run);
    }
  }

 private:
  struct triplet {
    double score;
    index_t layer;
    index_t rank;
  };

  // Chooses the triplets that are not masked.
  template <class Run>
  void allocate(Run& run) const {
    using T = typename Run::scalar;
    std::vector<std::vector<T>> alive(run.layers().size());
    std::vector<triplet> all;
    index_t layers = 0;
    for (const index_t l : run.targets()) {
      const auto& importance = run.rank_state.layers[l].importance;
      if (run.adapters.layers()[l].attached && importance.rank() == run.rank_of(l)) {
        const std::vector<T> scores = importance.scores(run.backend());
        for (std::size_t k = 0; k < scores.size(); ++k) {
          all.push_back({std::isnan(scores[k]) ? 0 : double(scores[k]), l, index_t(k)});
        }
        alive[l].assign(scores.size(), T(1));
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
      const triplet& masked = all[i];
      alive[masked.layer][masked.rank] = 0;
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
      auto& adapted_layer = run.adapters.layers()[l];
      const auto& alive = run.rank_state.layers[l].alive;
      if (adapted_layer.attached && alive.rows() == run.rank_of(l)) {
        run.backend().scale_rows(alive, adapted_layer.parameters.g);
      }
    }
  }
};

}  // namespace preheat::rank
