// Series of runs: a method's grid of learning rates, over bases and seeds, which grows where its best
// rate is at the edge.
//
//   std::vector<run_series> all = …;
//   run_grid(all, log, most_added_rates, bar, [&](const std::vector<grid_task>& tasks) {
//     return run_jobs(threads, tasks.size(), [&](std::size_t i) { … log.append(record); });
//   });
#pragma once
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "../console/progress.hpp"
#include "results.hpp"
#include "selection.hpp"

namespace comparison {

// All runs of one method at one rank on one shift.
struct run_series {
  run_definition common;  // of all its runs; their rate, base and seed are given below
  int bases = 1;
  int seeds = 1;
  std::vector<double> rates;
  int added_rates = 0;
};

inline std::vector<run_definition> definitions(const run_series& s, double rate) {
  std::vector<run_definition> runs;
  for (int base = 0; base < s.bases; ++base) {
    for (int seed = 0; seed < s.seeds; ++seed) {
      run_definition run = s.common;
      run.rate = rate;
      run.base = base;
      run.seed = seed;
      runs.push_back(std::move(run));
    }
  }
  return runs;
}

// The runs of a rate that are not in the log.
inline std::vector<run_definition> missing(const run_series& s, double rate, const run_log& log) {
  std::vector<run_definition> runs;
  for (run_definition& run : definitions(s, rate)) {
    if (log.find(run) == nullptr) {
      runs.push_back(std::move(run));
    }
  }
  return runs;
}

// The runs of all its rates that are in the log.
inline run_group kept(const run_series& s, const run_log& log) {
  run_group runs;
  for (const double rate : s.rates) {
    for (const run_definition& run : definitions(s, rate)) {
      const run_record* const record = log.find(run);
      if (record != nullptr) {
        runs.push_back(record);
      }
    }
  }
  return runs;
}

struct grid_task {
  const run_series* of;
  run_definition run;
};

// Does what is missing of the series through do_all(tasks), which appends to the log and returns
// false if it was stopped; then adds a rate to each series whose best is at the edge, at most
// `most_added` times, until no series grows. Returns false if it was stopped.
template <class DoAll>
bool run_grid(std::span<run_series* const> series, const run_log& log, int most_added,
              console::progress_bar& bar, DoAll do_all) {
  std::vector<grid_task> tasks;
  const auto want = [&](const run_series& s, double rate) {
    const std::size_t before = tasks.size();
    for (run_definition& run : missing(s, rate, log)) {
      tasks.push_back({&s, std::move(run)});
    }
    return tasks.size() - before;
  };
  for (const run_series* const s : series) {
    for (const double rate : s->rates) {
      want(*s, rate);
    }
  }
  while (true) {
    if (!do_all(std::as_const(tasks))) {
      return false;
    }
    tasks.clear();
    bool grown = false;
    for (run_series* const s : series) {
      const std::optional<double> rate = rate_to_add(kept(*s, log), s->added_rates, most_added);
      if (rate) {
        s->rates.push_back(*rate);
        ++s->added_rates;
        grown = true;
        const std::size_t all = definitions(*s, *rate).size();
        bar.grow(all, all - want(*s, *rate));
      }
    }
    if (!grown) {
      return true;
    }
  }
}

}  // namespace comparison
