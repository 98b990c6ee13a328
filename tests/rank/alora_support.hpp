// ALoRA's importance and choice on pairs of a row and a column, in plain loops, and rounds that are
// called by hand on factors that are made to order.
#pragma once
#include <tuple>

#include "rank_support.hpp"

namespace conformance {

struct rank_scores {
  double without = 0;
  double alone = 0;
  double importance = 0;
  index_t layer = 0;
  index_t rank = 0;
};

inline std::vector<rank_scores> importances(const regression_data& data,
                                            const std::vector<layer_ranks>& all, double s,
                                            column_range c) {
  const double whole = score(data, all, s, c);
  std::vector<rank_scores> scores;
  for (std::size_t l = 0; l < all.size(); ++l) {
    for (std::size_t k = 0; k < all[l].size(); ++k) {
      std::vector<layer_ranks> rest = all;
      rest[l].erase(rest[l].begin() + index_t(k));
      std::vector<layer_ranks> one(all.size());
      one[l] = {all[l][k]};
      const double without = score(data, rest, s, c);
      const double alone = score(data, one, s, c);
      scores.push_back({without, alone, whole - without + alone, index_t(l), index_t(k)});
    }
  }
  return scores;
}

// What a round does, where every layer has room: the ranks that stay, and how many each layer gets.
struct round_plan {
  std::vector<std::vector<index_t>> kept;
  std::vector<index_t> added;
};
inline round_plan plan_round(std::vector<rank_scores> scores, std::size_t layers) {
  round_plan plan{std::vector<std::vector<index_t>>(layers), std::vector<index_t>(layers, 0)};
  std::vector<double> sum(layers, 0);
  std::vector<std::size_t> before(layers, 0);
  for (const rank_scores& r : scores) {
    sum[r.layer] += r.importance;
    ++before[r.layer];
  }
  std::sort(scores.begin(), scores.end(), [](const rank_scores& x, const rank_scores& y) {
    return std::tie(x.importance, x.layer, x.rank) < std::tie(y.importance, y.layer, y.rank);
  });
  for (std::size_t i = layers; i < scores.size(); ++i) {
    plan.kept[std::size_t(scores[i].layer)].push_back(scores[i].rank);
  }
  std::vector<std::pair<double, std::size_t>> whole;  // −mean importance, layer
  for (std::size_t l = 0; l < layers; ++l) {
    std::sort(plan.kept[l].begin(), plan.kept[l].end());
    if (before[l] > 0 && plan.kept[l].size() == before[l]) {
      whole.emplace_back(-sum[l] / double(before[l]), l);
    }
  }
  std::sort(whole.begin(), whole.end());
  for (std::size_t given = 0; given < layers && !whole.empty(); ++given) {
    ++plan.added[whole[given % whole.size()].second];
  }
  return plan;
}

constexpr index_t no_round = 1 << 20;  // later than any step
inline const shape_list shapes{{9, 12}, {11, 8}, {10, 10}};

// ALoRA without rounds of its own; with rate 0 the factors stay what they are made.
template <class Method = preheat::alora>
Method by_hand(double rate = 0) {
  return {.optim = {.lr = rate, .weight_decay = 0}, .rank = {.first = no_round}};
}
// A round after the steps done so far.
template <class Run>
void round_now(Run& run) {
  run.method.rank.first = run.steps_done();
  run.method.rank.on(preheat::hook::after_step{}, run);
  run.method.rank.first = no_round;
}

template <class Run>
void randomize(Run& run, std::uint64_t seed = 700) {
  for (const index_t l : run.targets()) {
    const auto& W = run.layers()[l].W;
    const index_t r = run.rank_of(l);
    write_ranks(run, l,
                split(random_table(r, W.cols(), seed), 0.5 * random_table(W.rows(), r, seed + 1)));
    seed += 2;
  }
}
template <class Run>
void clear_b(Run& run) {
  for (const index_t l : run.targets()) {
    run.backend().fill(0, run.adapters.layers()[l].parameters.B);
  }
}
// Ranks that lower the validation loss, with others and alone: a is a unit vector, b descends.
template <class Task, class Run>
void make_helpful(Task& task, Run& run, index_t l, index_t first, double size) {
  const auto& one = task.data.layers[l];
  const table G = task.data.gradient(std::size_t(l), one.W, task.validation);
  layer_ranks ranks = read_ranks(run, l);
  for (index_t k = first; k < index_t(ranks.size()); ++k) {
    ranks[k] = {row(identity(one.W.cols), k), -size * columns(G, k, 1)};
  }
  write_ranks(run, l, ranks);
}

template <class Run>
std::vector<index_t> all_ranks(Run& run) {
  std::vector<index_t> r;
  for (const index_t l : run.targets()) {
    r.push_back(run.rank_of(l));
  }
  return r;
}
template <class Run>
bool gates_are_open(Run& run) {
  using Be = typename Run::backend_type;
  bool open = true;
  for (const auto& adapted_layer : run.adapters.layers()) {
    const table g = read<Be>(run.backend(), adapted_layer.parameters.g);
    open = open && same(g, table(adapted_layer.parameters.A.rows(), 1, 1));
  }
  return open;
}

}  // namespace conformance
