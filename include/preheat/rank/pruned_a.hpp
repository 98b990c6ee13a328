// PRILoRA's pruning of A (Benedek, Wolf, "PRILoRA: Pruned and Rank-Increasing Low-Rank Adaptation",
// arXiv 2401.11316), over any assignment of ranks:
//
//   importance of A_kj:  |A_kj|·c_j,   c_j = √(EMA of the mean square of feature j of the input)
//   EMA ← β·EMA + (1 − β)·(mean over the batch's tokens of X_j²);  the first batch starts it
//
// Every `every` steps the ⌊ρ·n⌋ least important entries of each row of A (or the ⌊ρ·r·n⌋ of the whole
// matrix) are set to zero; ties: the lower index goes first. `transient`: they may grow again;
// `frozen`: they are set to zero after every step from then on, until the adapter is drawn again or
// its ranks change. Tokens are all columns of X: a
// network with padding must leave it out.
// Ours: β = 0.9, every 40 steps, ρ = 0.5, rows, transient. The EMA and the frozen entries are saved
// with checkpoints. Before a layer has been seen nothing of it is pruned.
// Cost: one pass over the input a step; a sort of A on the host when pruning.
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

template <class Ranks = linear>
struct pruned_a {
  using axis = axes::rank;
  using hooks = hook_list<hook::observe_input, hook::after_step>;

  Ranks base{};
  double beta = 0.9;
  double fraction = 0.5;  // ρ
  index_t every = 40;
  prune_scope scope = prune_scope::row;
  prune_mode mode = prune_mode::transient;

  template <class Be>
  struct state : Ranks::template state<Be> {
    std::vector<mat<Be>> mean_square;  // one a layer, n×1; empty before its first input
    std::vector<mat<Be>> kept;         // frozen mode: 1 where A may live, 0 where it is pruned
    std::vector<index_t> kept_start;   // the start (slot.starts) of the A that was pruned
    template <class Archive>
    void archive(Archive& ar) {
      Ranks::template state<Be>::archive(ar);
      ar("mean_square", mean_square);
      ar("kept", kept);
      ar("kept_start", kept_start);
    }
  };

  index_t of(index_t l, index_t layers, index_t wanted) const {
    require(0 <= beta && beta < 1, "rank::pruned_a: 0 <= beta < 1", beta, 1.0);
    require(0 <= fraction && fraction < 1, "rank::pruned_a: 0 <= fraction < 1", fraction, 1.0);
    require(every >= 1, "rank::pruned_a: every >= 1", every, 1);
    return base.of(l, layers, wanted);
  }

  template <class Run>
  void observe_input(Run& run, index_t l, typename Run::input_view X) const {
    using Be = typename Run::backend_type;
    using T = scalar_of<Be>;
    Be& be = run.backend();
    auto& all = run.rank_state.mean_square;
    all.resize(run.net.layers().size());
    mat<Be>& ema = all[std::size_t(l)];
    const bool first = ema.rows() == 0;
    if (first) {
      ema = be.zeros(X.rows(), 1);
    } else {
      be.each(linalg::scale<T>{T(beta)}, ema);
    }
    be.add_row_dots(T((first ? 1 : 1 - beta) / double(X.cols())), X, X, ema);
    run.average(ema);  // it was the same in all processes before
  }

  template <class Run>
  void after_step(Run& run) const {
    static_assert(
        trains<typename Run::params>(role::A) && requires(typename Run::params & p) { p.A; },
        "preheat: rank::pruned_a prunes a trained A; use an adapter that has one, such as "
        "adapter::lora");
    auto& memory = run.rank_state;
    memory.mean_square.resize(run.net.layers().size());
    memory.kept.resize(run.net.layers().size());
    memory.kept_start.resize(run.net.layers().size());
    const bool pruning = run.steps_done() % every == 0;
    for (const index_t l : run.targets()) {
      const auto i = std::size_t(l);
      auto& slot = run.lin.slots()[i];
      if (!slot.attached) {
        continue;
      }
      if (mode == prune_mode::frozen && memory.kept_start[i] == slot.starts) {
        run.backend().each(multiply<typename Run::scalar>{}, slot.parameters.A, memory.kept[i]);
      }
      if (pruning && memory.mean_square[i].rows() > 0) {
        prune(run.backend(), memory.mean_square[i], slot.parameters.A, memory.kept[i]);
        memory.kept_start[i] = slot.starts;
      }
    }
  }

 private:
  // Zeroes the least important entries of A; in frozen mode notes in `kept` which are left.
  template <backend Be>
  void prune(Be& be, in<Be> mean_square, mat<Be>& A, mat<Be>& kept) const {
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
      std::stable_sort(group.begin(), group.end(), [&](index_t x, index_t y) {
        return worth[std::size_t(x)] < worth[std::size_t(y)];
      });
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
  template <class T>
  struct multiply {
    constexpr void operator()(T& x, const T& y) const { x *= y; }
  };
};

}  // namespace preheat::rank
