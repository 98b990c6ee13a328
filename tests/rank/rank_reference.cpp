// Twenty steps of ALoRA and of PRILoRA against a reference on tables: gradients, AdamW, importance,
// choice, reallocation and pruning in plain loops. Fresh rows of A are inputs, read from the run.
#include "alora_support.hpp"
#include "support/backends.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using Be = cpu_double;

constexpr double rate = 0.05;
constexpr double decay = 0.1;
constexpr double accuracy = 1e-10;
constexpr index_t steps = 20;

// One rank with its moments.
struct trained_rank {
  rank_pair now;
  reference_adam of_a{}, of_b{};

  // ∂loss/∂(W + ΔW) = G:  G_a = s·bᵀ·G, G_b = s·G·aᵀ
  void step(const table& G, double s) {
    const table ga = s * (transposed(now.b) * G);
    const table gb = s * (G * transposed(now.a));
    now.a = (1 - rate * decay) * now.a - rate * of_a.direction(ga);
    now.b = (1 - rate * decay) * now.b - rate * of_b.direction(gb);
  }
};
using trained_layer = std::vector<trained_rank>;

layer_ranks ranks_of(const trained_layer& layer) {
  layer_ranks ranks;
  for (const trained_rank& r : layer) {
    ranks.push_back(r.now);
  }
  return ranks;
}
template <class Run>
std::vector<trained_layer> start_of(Run& run) {
  std::vector<trained_layer> all;
  for (const layer_ranks& ranks : read_all_ranks(run)) {
    all.emplace_back();
    for (const rank_pair& r : ranks) {
      all.back().push_back({r});
    }
  }
  return all;
}
void step_all(const regression_data& data, std::vector<trained_layer>& all,
              const std::vector<double>& s, index_t step) {
  for (std::size_t l = 0; l < all.size(); ++l) {
    const table W = whole_weight(data.layers[l].W, ranks_of(all[l]), s[l]);
    const table G = data.gradient(l, W, regression_data::batch(step));
    for (trained_rank& r : all[l]) {
      r.step(G, s[l]);
    }
  }
}
// A round on the reference; what a fresh A is, the run says.
template <class Run>
index_t reallocate(Run& run, std::vector<trained_layer>& all, const round_plan& plan, int t) {
  index_t added = 0;
  for (std::size_t l = 0; l < all.size(); ++l) {
    trained_layer next;
    for (const index_t k : plan.kept[l]) {
      next.push_back(all[l][k]);
    }
    const layer_ranks of_run = read_ranks(run, index_t(l));
    for (index_t i = 0; i < plan.added[l]; ++i) {
      REQUIRE(next.size() < of_run.size());
      const table& a = of_run[next.size()].a;
      const table b(run.layers()[l].W.rows(), 1);
      const table none(1, a.cols);
      next.push_back({{a, b}, {.m = none, .v = none, .t = t}, {.m = b, .v = b, .t = t}});
      ++added;
    }
    all[l] = next;
  }
  return added;
}

}  // namespace

TEST_CASE("alora: twenty steps and three rounds follow the reference") {
  regression_task<Be> task({{10, 12}, {11, 9}, {9, 13}, {12, 10}});
  auto run = task.start(alora{.optim = {.lr = rate, .weight_decay = decay},
                              .rank = {.first = 6, .every = 5, .rounds = 3}},
                        {.rank = 3, .steps = steps});
  const double s = 2;  // α/r, for good
  const std::vector<double> scalings(4, s);
  std::vector<trained_layer> reference = start_of(run);
  index_t added = 0;
  index_t rounds = 0;
  index_t validation_passes = 0;
  for (index_t k = 0; k < steps; ++k) {
    CAPTURE(k);
    run.step();
    step_all(task.data, reference, scalings, k);
    if (k + 1 == 6 || k + 1 == 11 || k + 1 == 16) {
      std::vector<layer_ranks> now;
      for (const trained_layer& layer : reference) {
        now.push_back(ranks_of(layer));
      }
      const auto scores = importances(task.data, now, s, task.validation);
      added += reallocate(run, reference, plan_round(scores, now.size()), int(k + 1));
      validation_passes += 1 + 2 * index_t(scores.size());
      ++rounds;
    }
    for (std::size_t l = 0; l < reference.size(); ++l) {
      CAPTURE(l);
      CHECK(gap(read_ranks(run, index_t(l)), ranks_of(reference[l])) < accuracy);
    }
    CHECK(active_ranks(run) == 12 - 4 * rounds + added);
  }
  CHECK(rounds == 3);
  CHECK(added > 0);
  CHECK(run.finish().validation_passes == validation_passes);
}

namespace {

void check_pruning(rank::prune_scope scope, rank::prune_mode mode) {
  const bool by_row = scope == rank::prune_scope::row;
  const bool frozen = mode == rank::prune_mode::frozen;
  CAPTURE(by_row);
  CAPTURE(frozen);
  constexpr double beta = 0.8;
  constexpr double fraction = 0.3;
  regression_task<Be> task({{10, 12}, {11, 9}, {9, 13}});
  prilora method{.optim = {.lr = rate, .weight_decay = decay},
                 .rank = {.beta = beta, .fraction = fraction, .every = 5}};
  method.rank.scope = scope;
  method.rank.mode = mode;
  auto run = task.start(method, {.rank = 3, .steps = steps});
  std::vector<trained_layer> reference = start_of(run);
  const std::vector<std::size_t> line{1, 3, 5};  // the line whose middle is 3
  const std::vector<double> scalings{6.0, 2.0, 1.2};
  std::vector<table> seen(3);
  std::vector<std::vector<table>> zeros(3);  // 0 where a row of A stays 0
  for (index_t k = 0; k < steps; ++k) {
    CAPTURE(k);
    run.step();
    step_all(task.data, reference, scalings, k);
    for (std::size_t l = 0; l < reference.size(); ++l) {
      CAPTURE(l);
      trained_layer& layer = reference[l];
      REQUIRE(layer.size() == line[l]);
      const table now = mean_squares(task.data.layers[l].X, regression_data::batch(k));
      seen[l] = k == 0 ? now : beta * seen[l] + (1 - beta) * now;
      for (std::size_t i = 0; frozen && i < zeros[l].size(); ++i) {
        table& a = layer[i].now.a;
        for (std::size_t j = 0; j < a.values.size(); ++j) {
          a.values[j] *= zeros[l][i].values[j];
        }
      }
      if ((k + 1) % 5 == 0) {
        layer_ranks ranks = ranks_of(layer);
        prune(ranks, by_row, fraction, seen[l]);
        zeros[l].clear();
        for (std::size_t i = 0; i < layer.size(); ++i) {
          layer[i].now.a = ranks[i].a;
          zeros[l].push_back(mapped(ranks[i].a, [](double x) { return double(x != 0); }));
        }
      }
      CHECK(gap(read_ranks(run, index_t(l)), ranks_of(layer)) < accuracy);
    }
  }
}

}  // namespace

TEST_CASE("prilora: twenty steps and four prunings follow the reference") {
  for (const auto scope : {rank::prune_scope::row, rank::prune_scope::matrix}) {
    for (const auto mode : {rank::prune_mode::transient, rank::prune_mode::frozen}) {
      check_pruning(scope, mode);
    }
  }
}
