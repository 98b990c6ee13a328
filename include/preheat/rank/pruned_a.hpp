// PRILoRA's pruning of A (Benedek, Wolf, "PRILoRA: Pruned and Rank-Increasing Low-Rank Adaptation",
// arXiv 2401.11316), with any assignment of ranks:
//
//   importance of A_kj:  |A_kj|·c_j,   c_j = √(EMA of the mean square of feature j of the input)
//   EMA ← β·EMA + (1 − β)·(mean over the batch's tokens of X_j²);  the first batch starts it
//
// Every `every` steps the ⌊ρ·n⌋ least important entries of each row of A (or the ⌊ρ·r·n⌋ least of
// the whole matrix) are set to zero; ties: the lower index goes first. `transient`: these entries
// are trained further and may become nonzero. `frozen`: they are set to zero after every step until
// the adapter is started again or its ranks change. Tokens are all columns of X, so a network with
// padding must leave it out. [preheat] β = 0.9, every 40 steps, ρ = 0.5, rows, transient.
// Checkpoints contain the EMA and the frozen entries. A layer is not pruned before its first input.
// Cost: one pass over the input per step, and a sort of A on the host when pruning.
#pragma once
#include <algorithm>
#include <cmath>
#include <numeric>
#include <type_traits>
#include <vector>

#include "../linalg/elementwise.hpp"
#include "linear.hpp"

namespace preheat::rank {

enum class prune_scope { row, matrix };
enum class prune_mode { transient, frozen };

// x = x·kept, where kept is 0 or 1: zeroes again what was pruned.
template <class T>
struct keep_kernel {
  constexpr void operator()(T& x, const T& kept) const { x *= kept; }
};

template <class Ranks = linear>
struct pruned_a {
  using axis = axes::rank;

  Ranks base{};
  double beta = 0.9;
  double fraction = 0.5;  // ρ
  index_t every = 40;
  prune_scope scope = prune_scope::row;
  prune_mode mode = prune_mode::transient;

  template <class Be>
  struct state : Ranks::template state<Be> {
    std::vector<mat<Be>> mean_square;  // one per layer, n×1; empty before its first input
    std::vector<mat<Be>> kept;         // frozen mode: 0 where A is pruned, else 1
    std::vector<index_t> kept_start;   // the start (adapted_layer.starts) of the A that was pruned
    template <class Archive>
    void archive(Archive& ar) {
      Ranks::template state<Be>::archive(ar);
      ar("mean_square", mean_square);
      ar("kept", kept);
      ar("kept_start", kept_start);
    }
  };

  index_t initial_rank(index_t l, index_t layers, index_t wanted) const {
    require(0 <= beta && beta < 1, "rank::pruned_a: 0 <= beta < 1", beta, 1.0);
    require(0 <= fraction && fraction < 1, "rank::pruned_a: 0 <= fraction < 1", fraction, 1.0);
    require(every >= 1, "rank::pruned_a: every >= 1", every, 1);
    return base.initial_rank(l, layers, wanted);
  }

  template <class Run>
  void on(hook::observe_input, Run& run, index_t l, typename Run::input_view X) const {
    using Be = typename Run::backend_type;
    using T = scalar_of<Be>;
    Be& be = run.backend();
    auto& all = run.rank_state.mean_square;
    all.resize(run.layers().size());
    mat<Be>& ema = all[l];
    const bool first = ema.rows() == 0;
    if (first) {
      ema = be.zeros(X.rows(), 1);
    } else {
      be.apply(linalg::scale<T>{T(beta)}, ema);
    }
    be.add_row_dots(T((first ? 1 : 1 - beta) / double(X.cols())), X, X, ema);
    run.average(ema);  // before, it was the same in all processes
  }

  template <class Run>
  void on(hook::after_step, Run& run) const {
    static_assert(
        trains<typename Run::params>(parameter_role::A) &&
            requires(typename Run::params & p) { p.A; },
        "preheat: rank::pruned_a prunes a trained A; use an adapter that has one, such as "
        "adapter::lora");
    auto& memory = run.rank_state;
    memory.mean_square.resize(run.layers().size());
    memory.kept.resize(run.layers().size());
    memory.kept_start.resize(run.layers().size());
    const bool pruning = run.steps_done() % every == 0;
    for (const index_t l : run.targets()) {
      const auto i = std::size_t(l);
      auto& adapted_layer = run.adapters.layers()[i];
      if (!adapted_layer.attached) {
        continue;
      }
      if (mode == prune_mode::frozen && memory.kept_start[i] == adapted_layer.starts) {
        run.backend().apply(keep_kernel<typename Run::scalar>{}, adapted_layer.parameters.A,
                            memory.kept[i]);
      }
      if (pruning && memory.mean_square[i].rows() > 0) {
        prune(run.backend(), memory.mean_square[i], adapted_layer.parameters.A, memory.kept[i]);
        memory.kept_start[i] = adapted_layer.starts;
      }
    }
  }

 private:
  // Zeroes the least important entries of A; in frozen mode writes to `kept` which are left.
  template <backend Be>
  void prune(Be& be, const_view_of<Be> mean_square, mat<Be>& A, mat<Be>& kept) const {
    const index_t r = A.rows();
    const index_t n = A.cols();
    auto a = be.download(A);
    const auto squares = be.download(mean_square);
    std::vector<double> worth(a.size());  // the square of the importance
    for (std::size_t i = 0; i < a.size(); ++i) {
      worth[i] = double(a[i]) * double(a[i]) * double(squares[i / std::size_t(r)]);
    }
    const index_t groups = scope == prune_scope::row ? r : 1;
    std::vector<index_t> group(std::size_t(r * n / groups));  // places in a, column-major
    for (index_t g = 0; g < groups; ++g) {
      for (std::size_t i = 0; i < group.size(); ++i) {
        group[i] = g + index_t(i) * groups;
      }
      std::stable_sort(group.begin(), group.end(),
                       [&](index_t x, index_t y) { return worth[x] < worth[y]; });
      const auto pruned = std::size_t(std::floor(fraction * double(group.size())));
      for (std::size_t i = 0; i < pruned; ++i) {
        a[std::size_t(group[i])] = 0;
      }
    }
    be.upload(a, A);
    if (mode == prune_mode::frozen) {
      kept = be.zeros(r, n);
      for (auto& x : a) {
        x = x != 0 ? 1 : 0;
      }
      be.upload(a, kept);
    }
  }
};

}  // namespace preheat::rank
