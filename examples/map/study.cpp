#include "study.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <stdexcept>

namespace preheat_map {

std::vector<cell> all_kinds() {
  std::vector<cell> kinds;
  for (const optimizer o : {optimizer::sgd, optimizer::adam}) {
    kinds.push_back({.warm = warm::train_a, .optimizer = o});
    kinds.push_back({.warm = warm::train_b, .optimizer = o});
    kinds.push_back({.warm = warm::classic, .optimizer = o, .side = side::right});
    kinds.push_back({.warm = warm::classic, .optimizer = o, .side = side::left});
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

cell placed(cell kind, int rank, double share, int steps) {
  kind.rank = rank;
  kind.steps = preheating_steps(share, steps);
  return kind;
}

cell random_like(const cell& c) {
  return {.from = start::orthonormal, .row_norm = c.row_norm};
}

std::vector<map_place> map_places(const amount& a) {
  const std::vector<cell> all = all_kinds();
  const std::vector<cell> two = {all[0], all[6]};  // train A by SGD; classic by Adam, right
  std::vector<map_place> places;
  const auto add = [&](const char* problem, int steps, bool chooses,
                       const std::vector<cell>& kinds) {
    places.push_back({place{problem, steps}, chooses, kinds});
  };
  if (a.quick) {
    add("rotated", 30, true, two);
    add("teacher exponential", 30, true, two);
    return places;
  }
  std::vector<cell> classic;
  std::copy_if(all.begin(), all.end(), std::back_inserter(classic),
               [](const cell& c) { return c.warm == warm::classic; });
  const std::vector<cell>& further = a.full ? all : two;
  add("rotated", 150, true, all);
  add("rotated", 50, true, all);
  add("teacher exponential", 50, true, all);
  add("teacher polynomial", 50, true, all);
  add("teacher flat", 50, false, further);
  add("teacher exponential", 150, false, a.full ? all : classic);
  add("rotated", 400, false, further);
  return places;
}

std::vector<cell> cells_of(const map_place& m, const amount& a) {
  std::vector<cell> cells;
  for (const cell& kind : m.kinds) {
    for (const int rank : preheating_ranks(a)) {
      for (const double share : shares(a)) {
        cells.push_back(placed(kind, rank, share, m.at.steps));
      }
    }
  }
  return cells;
}

comparison::estimate paired(const std::vector<double>& better, const std::vector<double>& than) {
  std::vector<double> differences;
  for (std::size_t i = 0; i < std::min(better.size(), than.size()); ++i) {
    differences.push_back(better[i] - than[i]);
  }
  return comparison::mean_with_interval(differences);
}

namespace {

// For every base, the mean over the places that choose of log(loss/reference's loss).
template <class CellAt, class ReferenceAt>
std::vector<double> scores_by_base(const trials& t, const amount& a, CellAt cell_at,
                                   ReferenceAt reference_at) {
  std::vector<double> sums;
  double places = 0;
  for (const map_place& m : map_places(a)) {
    if (!m.chooses) {
      continue;
    }
    const std::vector<double> losses = t.of(m.at, cell_at(m.at.steps)).validation_loss;
    const std::vector<double> compared = t.of(m.at, reference_at(m.at.steps)).validation_loss;
    sums.resize(losses.size());
    for (std::size_t i = 0; i < losses.size(); ++i) {
      sums[i] += std::log(losses[i] / compared[i]);
    }
    ++places;
  }
  for (double& sum : sums) {
    sum /= places;
  }
  return sums;
}

}  // namespace

std::vector<candidate> rank_candidates(const trials& t, const amount& a) {
  std::vector<candidate> all;
  const std::vector<cell> kinds = map_places(a).front().kinds;
  for (const cell& kind : kinds) {
    for (const int rank : preheating_ranks(a)) {
      for (const double share : shares(a)) {
        const std::vector<double> scores = scores_by_base(
            t, a, [&](int steps) { return placed(kind, rank, share, steps); },
            [&](int) { return random_like(kind); });
        const double error =
            comparison::standard_deviation(scores) / std::sqrt(double(scores.size()));
        all.push_back({kind, rank, share, comparison::mean(scores), error});
      }
    }
  }
  std::erase_if(all, [](const candidate& c) { return !std::isfinite(c.score); });
  std::stable_sort(all.begin(), all.end(),
                   [](const candidate& x, const candidate& y) { return x.score < y.score; });
  return all;
}

std::vector<double> row_norms(const amount& a) {
  return a.quick ? std::vector<double>{1, 3} : std::vector<double>{0.5, 1, 2, 4, 8};
}

std::vector<cell> starts_by_size(const candidate& chosen, const amount& a, int steps) {
  std::vector<cell> cells = {{.from = start::kaiming}, {.from = start::gaussian}};
  for (const double norm : row_norms(a)) {
    cells.push_back({.from = start::orthonormal, .row_norm = norm});
    cells.push_back({.from = start::gaussian, .row_norm = norm});
    cell preheated = placed(chosen.kind, chosen.rank, chosen.share, steps);
    preheated.row_norm = norm;
    cells.push_back(preheated);
  }
  return cells;
}

std::vector<size_choice> rank_sizes(const trials& t, const candidate& chosen, const amount& a) {
  std::vector<size_choice> all;
  for (const double norm : row_norms(a)) {
    const std::vector<double> scores = scores_by_base(
        t, a,
        [&](int steps) {
          cell c = placed(chosen.kind, chosen.rank, chosen.share, steps);
          c.row_norm = norm;
          return c;
        },
        [](int) { return cell{.from = start::kaiming}; });
    all.push_back({norm, comparison::mean(scores)});
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const size_choice& x, const size_choice& y) { return x.score < y.score; });
  return all;
}

std::vector<place> confirming_places(const amount& a) {
  if (a.quick) {
    return {{"mirrored", 30}};
  }
  return {{"mirrored", 150}, {"new_classes", 150}, {"mirrored", 50}, {"new_classes", 50}};
}

std::vector<cell> confirmed_cells(const candidate& chosen, double norm, int steps) {
  cell at_size = placed(chosen.kind, chosen.rank, chosen.share, steps);
  at_size.row_norm = norm;
  return {{.from = start::kaiming},
          {.from = start::gaussian},
          {.from = start::orthonormal, .row_norm = norm},
          {.from = start::gaussian, .row_norm = norm},
          at_size};
}

energy_table measure_energies(trials& t, const amount& a, console::progress_bar& bar) {
  const comparison::shift on = comparison::shift::rotated;
  const int steps = a.quick ? 30 : 150;
  const comparison::training_settings s = trials::training(steps);
  energy_table table;
  table.best.resize(std::size_t(a.bases));
  table.rows.push_back({.start = {.from = start::orthonormal}});
  const cell by_sgd{.warm = warm::train_a, .optimizer = optimizer::sgd};
  for (const int rank : preheating_ranks(a)) {
    for (const double share : shares(a)) {
      table.rows.push_back({.start = placed(by_sgd, rank, share, steps)});
    }
  }
  for (energy_row& row : table.rows) {
    row.at_start.resize(std::size_t(a.bases));
    row.at_end.resize(std::size_t(a.bases));
  }
  bar.grow(std::size_t(a.bases));
  const bool all_done =
      console::run_jobs(a.trials.threads, std::size_t(a.bases), [&](std::size_t b) {
        const comparison::pretrained_base& base = t.base(on, int(b));
        comparison::run_definition run;
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

}  // namespace preheat_map
