// ALoRA ("ALoRA: Allocating Low-Rank Adaptation for Fine-tuning Large Language Models", arXiv
// 2403.16187) moves ranks between layers. Every rank has a gate (adapter::gated<gate::open>), and
// its importance compares the loss without it and with it alone, on one fixed validation batch in
// evaluation mode, with S = −loss:
//
//   IS(k) = S(all) − S(all without k) + S(k alone, with the gates of all other ranks zero)
//
// In a round, the n_A least important of all active ranks are dropped, where n_A is the number of
// adapted layers. The set U of the layers that lost none, in order of their mean importance, gets
// n_A new ranks: n_A div |U| each, and one more for the first n_A mod |U|; ranks beyond min(out,
// in) of a layer go to the next one. New ranks start from the init (product zero) with optimizer
// moments of zero; s does not change. If every layer lost a rank, nothing is added. A layer left
// without ranks never gets new ones. Ties: the earlier layer, then the lower rank, goes first. If
// ranks are few, rounds in which every layer loses one can use them up: keep `rounds` below the
// rank.
//
// [paper] A first phase of 1 epoch, at most 8 rounds that are 0.25 epochs apart, a batch of 32.
// [preheat] Phases are in steps, and so are their defaults. A round costs 1 + 2·(active ranks)
// forward passes; report.validation_passes counts them.
#pragma once
#include <algorithm>
#include <vector>

#include "../core/concepts.hpp"

namespace preheat::rank {

struct ablation {
  using axis = axes::rank;
  template <class Be>
  using state = no_state<Be>;

  index_t first = 100;  // K₁, steps before the first round
  index_t every = 25;   // K₂, steps between rounds
  index_t rounds = 8;   // N_A, at most

  index_t initial_rank(index_t, index_t, index_t wanted) const { return wanted; }

  struct score {
    double importance;
    index_t layer;
    index_t rank;
  };

  template <class Run>
  void on(hook::after_step, Run& run) const {
    require(first >= 1 && every >= 1, "rank::ablation: first, every >= 1", first, every);
    const index_t since = run.steps_done() - first;
    if (since >= 0 && since % every == 0 && since / every < rounds && !run.done()) {
      reallocate(run);
    }
  }

  // The importance of every active rank, by layer and rank.
  template <class Run>
  std::vector<score> importance(Run& run) const {
    static_assert(has_role<typename Run::params>(parameter_role::gate) &&
                      !trains<typename Run::params>(parameter_role::gate),
                  "preheat: rank::ablation sets gates to zero to measure their effect; use "
                  "adapter::gated<adapter::gate::open>");
    const std::vector<index_t> layers = active_layers(run);
    const auto set_all = [&](double value) {
      for (const index_t l : layers) {
        run.backend().fill(scalar<Run>(value), gates(run, l));
      }
    };
    const auto set_one = [&](index_t l, index_t k, double value) {
      run.backend().fill(scalar<Run>(value), view(gates(run, l)).row_range(k, 1));
    };
    std::vector<score> scores;
    const double whole = -run.validation_loss();
    for (const index_t l : layers) {
      for (index_t k = 0; k < run.rank_of(l); ++k) {
        set_one(l, k, 0);
        const double without = -run.validation_loss();
        set_all(0);
        set_one(l, k, 1);
        const double alone = -run.validation_loss();
        set_all(1);
        scores.push_back({whole - without + alone, l, k});
      }
    }
    return scores;
  }

  // The numbers of new ranks of layers that share `count`, given how many each can still hold, in
  // the order of their importance: equal shares, one more for the first while a remainder is left;
  // what a layer cannot hold goes to the next one that can, cyclically, until none can.
  static std::vector<index_t> shares(index_t count, const std::vector<index_t>& room) {
    const index_t layers = index_t(room.size());
    std::vector<index_t> given(room.size(), 0);
    index_t excess = 0;
    for (index_t i = 0; i < layers; ++i) {
      const index_t share = count / layers + (i < count % layers ? 1 : 0) + excess;
      given[i] = std::min(share, room[i]);
      excess = share - given[i];
    }
    for (std::size_t i = 0; i < room.size() && excess > 0; ++i) {
      const index_t more = std::min(excess, room[i] - given[i]);
      given[i] += more;
      excess -= more;
    }
    return given;
  }

 private:
  template <class Run>
  using scalar = typename Run::scalar;

  template <class Run>
  static auto& gates(Run& run, index_t l) {
    return run.adapters.layers()[l].parameters.g;
  }
  template <class Run>
  static std::vector<index_t> active_layers(Run& run) {
    std::vector<index_t> active;
    for (const index_t l : run.targets()) {
      if (run.adapters.layers()[l].attached) {
        active.push_back(l);
      }
    }
    return active;
  }

  template <class Run>
  void reallocate(Run& run) const {
    const std::vector<index_t> layers = active_layers(run);
    std::vector<score> scores = importance(run);
    const std::size_t dropped = std::min(run.targets().size(), scores.size());

    std::vector<double> mean(run.layers().size(), 0);
    for (const score& s : scores) {
      mean[s.layer] += s.importance / double(run.rank_of(s.layer));
    }
    std::stable_sort(scores.begin(), scores.end(),
                     [](const score& a, const score& b) { return a.importance < b.importance; });
    std::vector<std::vector<index_t>> keep(run.layers().size());
    for (std::size_t i = dropped; i < scores.size(); ++i) {
      keep[std::size_t(scores[i].layer)].push_back(scores[i].rank);
    }

    std::vector<index_t> whole;  // U: the layers that lost no rank
    for (const index_t l : layers) {
      std::sort(keep[l].begin(), keep[l].end());
      if (index_t(keep[l].size()) == run.rank_of(l)) {
        whole.push_back(l);
      } else {
        run.select_ranks(l, keep[l], 0);
      }
    }
    std::stable_sort(whole.begin(), whole.end(),
                     [&](index_t a, index_t b) { return mean[a] > mean[b]; });
    std::vector<index_t> room;
    for (const index_t l : whole) {
      room.push_back(run.max_rank(l) - run.rank_of(l));
    }
    const std::vector<index_t> added = shares(index_t(dropped), room);
    for (std::size_t i = 0; i < whole.size(); ++i) {
      if (added[i] > 0) {
        run.select_ranks(whole[i], keep[std::size_t(whole[i])], added[i]);
      }
    }
  }
};

}  // namespace preheat::rank
