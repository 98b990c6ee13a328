#include "study.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <stdexcept>

namespace studies::map {

std::vector<start_config> all_kinds() {
  std::vector<start_config> kinds;
  for (const optimizer o : {optimizer::sgd, optimizer::adam}) {
    kinds.push_back({.preheating = preheating_kind::train_a, .optimizer = o});
    kinds.push_back({.preheating = preheating_kind::train_b, .optimizer = o});
    kinds.push_back(
        {.preheating = preheating_kind::classic, .optimizer = o, .side = singular_side::right});
    kinds.push_back(
        {.preheating = preheating_kind::classic, .optimizer = o, .side = singular_side::left});
  }
  return kinds;
}

std::vector<int> preheating_ranks(const amount& a) {
  return a.quick ? std::vector<int>{8, 32} : std::vector<int>{2, 8, 32, 64};
}

std::vector<double> shares(const amount& a) {
  return a.quick ? std::vector<double>{1.0 / 30}
                 : std::vector<double>{1.0 / 75, 1.0 / 30, 0.1, 4.0 / 15};
}

int preheating_steps(double share, int steps) {
  return std::max(1, int(std::lround(share * steps)));
}

start_config preheated_config(start_config kind, int rank, double share, int steps) {
  kind.rank = rank;
  kind.steps = preheating_steps(share, steps);
  return kind;
}

start_config random_like(const start_config& c) {
  return {.from = start::orthonormal, .row_norm = c.row_norm};
}

std::vector<map_setup> map_setups(const amount& a) {
  const std::vector<start_config> all = all_kinds();
  const std::vector<start_config> two = {all[0], all[6]};  // train A by SGD; classic by Adam, right
  std::vector<map_setup> setups;
  const auto add = [&](const char* problem, int steps, bool chooses,
                       const std::vector<start_config>& kinds) {
    setups.push_back({setup{problem, steps}, chooses, kinds});
  };
  if (a.quick) {
    add("rotated", 30, true, two);
    add("teacher exponential", 30, true, two);
    return setups;
  }
  std::vector<start_config> classic;
  std::copy_if(all.begin(), all.end(), std::back_inserter(classic),
               [](const start_config& c) { return c.preheating == preheating_kind::classic; });
  const std::vector<start_config>& further = a.full ? all : two;
  add("rotated", 150, true, all);
  add("rotated", 50, true, all);
  add("teacher exponential", 50, true, all);
  add("teacher polynomial", 50, true, all);
  add("teacher flat", 50, false, further);
  add("teacher exponential", 150, false, a.full ? all : classic);
  add("rotated", 400, false, further);
  return setups;
}

std::vector<start_config> configs_of(const map_setup& m, const amount& a) {
  std::vector<start_config> configs;
  for (const start_config& kind : m.kinds) {
    for (const int rank : preheating_ranks(a)) {
      for (const double share : shares(a)) {
        configs.push_back(preheated_config(kind, rank, share, m.at.steps));
      }
    }
  }
  return configs;
}

common::estimate paired(const std::vector<double>& better, const std::vector<double>& than) {
  std::vector<double> differences;
  for (std::size_t i = 0; i < std::min(better.size(), than.size()); ++i) {
    differences.push_back(better[i] - than[i]);
  }
  return common::mean_with_interval(differences);
}

namespace {

// For every base, the mean over the setups that decide, of log(loss/reference's loss).
template <class ConfigAt, class ReferenceAt>
std::vector<double> scores_by_base(const trials& t, const amount& a, ConfigAt config_at,
                                   ReferenceAt reference_at) {
  std::vector<double> sums;
  double setups = 0;
  for (const map_setup& m : map_setups(a)) {
    if (!m.chooses) {
      continue;
    }
    const std::vector<double> losses = t.of(m.at, config_at(m.at.steps)).validation_loss;
    const std::vector<double> compared = t.of(m.at, reference_at(m.at.steps)).validation_loss;
    sums.resize(losses.size());
    for (std::size_t i = 0; i < losses.size(); ++i) {
      sums[i] += std::log(losses[i] / compared[i]);
    }
    ++setups;
  }
  for (double& sum : sums) {
    sum /= setups;
  }
  return sums;
}

}  // namespace

std::vector<scored_config> rank_configs(const trials& t, const amount& a) {
  std::vector<scored_config> all;
  const std::vector<start_config> kinds = map_setups(a).front().kinds;
  for (const start_config& kind : kinds) {
    for (const int rank : preheating_ranks(a)) {
      for (const double share : shares(a)) {
        const std::vector<double> scores = scores_by_base(
            t, a, [&](int steps) { return preheated_config(kind, rank, share, steps); },
            [&](int) { return random_like(kind); });
        const double error = common::standard_deviation(scores) / std::sqrt(double(scores.size()));
        all.push_back({kind, rank, share, common::mean(scores), error});
      }
    }
  }
  std::erase_if(all, [](const scored_config& c) { return !std::isfinite(c.score); });
  std::stable_sort(all.begin(), all.end(), [](const scored_config& x, const scored_config& y) {
    return x.score < y.score;
  });
  return all;
}

std::vector<double> row_norms(const amount& a) {
  return a.quick ? std::vector<double>{1, 3} : std::vector<double>{0.5, 1, 2, 4, 8};
}

std::vector<start_config> starts_by_size(const scored_config& chosen, const amount& a, int steps) {
  std::vector<start_config> configs = {{.from = start::kaiming}, {.from = start::gaussian}};
  for (const double norm : row_norms(a)) {
    configs.push_back({.from = start::orthonormal, .row_norm = norm});
    configs.push_back({.from = start::gaussian, .row_norm = norm});
    start_config preheated = preheated_config(chosen.kind, chosen.rank, chosen.share, steps);
    preheated.row_norm = norm;
    configs.push_back(preheated);
  }
  return configs;
}

std::vector<size_choice> rank_sizes(const trials& t, const scored_config& chosen, const amount& a) {
  std::vector<size_choice> all;
  for (const double norm : row_norms(a)) {
    const std::vector<double> scores = scores_by_base(
        t, a,
        [&](int steps) {
          start_config c = preheated_config(chosen.kind, chosen.rank, chosen.share, steps);
          c.row_norm = norm;
          return c;
        },
        [](int) { return start_config{.from = start::kaiming}; });
    all.push_back({norm, common::mean(scores)});
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const size_choice& x, const size_choice& y) { return x.score < y.score; });
  return all;
}

std::vector<setup> confirming_setups(const amount& a) {
  if (a.quick) {
    return {{"mirrored", 30}};
  }
  return {{"mirrored", 150}, {"new_classes", 150}, {"mirrored", 50}, {"new_classes", 50}};
}

std::vector<start_config> confirmed_configs(const scored_config& chosen, double norm, int steps) {
  start_config at_size = preheated_config(chosen.kind, chosen.rank, chosen.share, steps);
  at_size.row_norm = norm;
  return {{.from = start::kaiming},
          {.from = start::gaussian},
          {.from = start::orthonormal, .row_norm = norm},
          {.from = start::gaussian, .row_norm = norm},
          at_size};
}

energy_table measure_energies(trials& t, const amount& a, apps::console::progress_bar& bar) {
  const digits::shift on = digits::shift::rotated;
  const int steps = a.quick ? 30 : 150;
  const digits::training_settings s = trials::training(steps);
  energy_table table;
  table.best.resize(std::size_t(a.bases));
  table.rows.push_back({.start = {.from = start::orthonormal}});
  const start_config by_sgd{.preheating = preheating_kind::train_a, .optimizer = optimizer::sgd};
  for (const int rank : preheating_ranks(a)) {
    for (const double share : shares(a)) {
      table.rows.push_back({.start = preheated_config(by_sgd, rank, share, steps)});
    }
  }
  for (energy_row& row : table.rows) {
    row.at_start.resize(std::size_t(a.bases));
    row.at_end.resize(std::size_t(a.bases));
  }
  bar.grow(std::size_t(a.bases));
  const bool all_done =
      apps::console::run_jobs(a.trials.threads, std::size_t(a.bases), [&](std::size_t b) {
        const digits::base_model& base = t.base(on, int(b));
        common::run_definition run;
        run.rank = main_rank;
        run.base = int(b);
        run.rate = 3e-3;  // of full fine-tuning
        const auto tuned = tune_fully(base, t.data(on), s, run);
        table.best[b] = best_energy(base, *tuned);
        run.rate = 3e-2;  // of the adapters
        for (energy_row& row : table.rows) {
          const energy e = measure_energy(row.start, base, *tuned, t.data(on), s, run);
          row.at_start[b] = e.at_start;
          row.at_end[b] = e.at_end;
        }
        bar.advance("energy of full fine-tuning's change");
      });
  if (!all_done) {
    throw std::runtime_error("stopped while measuring energies");
  }
  return table;
}

}  // namespace studies::map
