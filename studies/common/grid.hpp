// A grid of runs: groups of one method on one problem, each at several learning rates, bases and
// seeds. It does what the log does not hold yet, spread over threads or processes; where the best rate of a
// group is at the edge of its rates, the group grows by a rate, until none does.
//
//   common::grid g(log, threads, most_added_rates);
//   const std::size_t hrp = g.add({.problem = "rotated", .method = "hrp", …, .run = …});
//   g.run({hrp}, bar, [](const grid_group&, const run_record&) { return "a note"; });
//   for (const run_record* r : g.runs(hrp)) …
#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "apps/console/pool.hpp"
#include "apps/console/progress.hpp"
#include "results.hpp"
#include "selection.hpp"

namespace studies::common {

struct grid_group {
  std::string problem{};  // run_definition::shift
  std::string method{};   // identifier
  std::string name{};     // of the method, for readers
  int rank = 0;
  int steps = 0;
  std::string settings{};
  std::vector<double> rates{};
  int bases = 1;
  int seeds = 1;  // a base
  std::function<run_outcome(const run_definition&)> run{};
  int added_rates = 0;
};

class grid {
 public:
  using note = std::function<std::string(const grid_group&, const run_record&)>;
  using permission = std::function<bool()>;

  // Does the runs on many processes: apps::console::run_jobs with a world, for text jobs.
  using question_of = std::function<std::optional<std::string>(std::size_t)>;
  using answer_to = std::function<std::string(const std::string&)>;
  using take_answer = std::function<void(std::size_t, const std::string&)>;
  using job_runner =
      std::function<bool(std::size_t, const question_of&, const answer_to&, const take_answer&)>;

  // `log` must outlive the grid.
  grid(run_log& log, int threads, int most_added_rates)
      : log_(log), threads_(threads), most_added_rates_(most_added_rates) {}

  // Returns the group's number.
  std::size_t add(grid_group g) {
    groups_.push_back(std::move(g));
    for (const double rate : groups_.back().rates) {
      wanted_ += definitions(groups_.back(), rate).size();
      kept_ += definitions(groups_.back(), rate).size() - missing(groups_.size() - 1, rate).size();
    }
    return groups_.size() - 1;
  }

  std::size_t size() const { return groups_.size(); }
  const grid_group& group(std::size_t number) const { return groups_[number]; }
  // Runs that are wanted, as far as known when groups were added, and how many of them are kept.
  std::size_t wanted_runs() const { return wanted_; }
  std::size_t kept_runs() const { return kept_; }

  // A group's runs that are there.
  run_group runs(std::size_t number) const {
    const grid_group& g = groups_[number];
    run_group found;
    for (const double rate : g.rates) {
      for (const run_definition& run : definitions(g, rate)) {
        const run_record* const record = log_.find(run);
        if (record != nullptr) {
          found.push_back(record);
        }
      }
    }
    return found;
  }

  // How many runs a group lacks at these rates and the first `bases` bases.
  std::size_t missing_runs(std::size_t number, std::span<const double> rates, int bases) const {
    std::size_t count = 0;
    for (const double rate : rates) {
      for (const run_definition& run : missing(number, rate)) {
        count += run.base < bases;
      }
    }
    return count;
  }
  // From now on a group has these of its rates, and so many of its bases.
  void restrict(std::size_t number, std::vector<double> rates, int bases) {
    grid_group& g = groups_[number];
    g.rates = std::move(rates);
    g.bases = std::min(g.bases, bases);
  }
  // Does the first run that a group lacks at these rates; false if it lacks none.
  bool run_first(std::size_t number, std::span<const double> rates) {
    const grid_group& g = groups_[number];
    for (const double rate : rates) {
      const std::vector<run_definition> absent = missing(number, rate);
      if (!absent.empty()) {
        log_.append(do_run(g, absent.front()));
        return true;
      }
    }
    return false;
  }

  // Runs are done on threads of this process, or by this runner on many processes.
  void run_with(job_runner r) { runner_ = std::move(r); }
  // Does the run that a line describes, and returns the line of its record. Throws
  // std::runtime_error if this process computes other numbers than the one that asks.
  std::string answer(const std::string& question) const {
    const run_definition run = from_line(question);
    const auto asked = std::find_if(groups_.begin(), groups_.end(), [&](const grid_group& g) {
      return g.problem == run.shift && g.method == run.method && g.rank == run.rank &&
             g.steps == run.steps && g.settings == run.settings;
    });
    if (asked == groups_.end()) {
      throw std::runtime_error(run.method +
                               " gives other numbers here than in the first process: use machines "
                               "of one kind. There: " +
                               run.settings);
    }
    return to_line(do_run(*asked, run));
  }

  // Whether every group has all runs of its first rates at this base.
  bool complete(std::span<const std::size_t> which, int base) const {
    return std::all_of(which.begin(), which.end(), [&](std::size_t number) {
      const grid_group& g = groups_[number];
      return std::all_of(g.rates.begin(), g.rates.end() - g.added_rates, [&](double rate) {
        const std::vector<run_definition> absent = missing(number, rate);
        return std::none_of(absent.begin(), absent.end(),
                            [&](const run_definition& run) { return run.base == base; });
      });
    });
  }

  // Does what is missing of these groups, base by base, so that what there is after a stop is
  // balanced. False if it was stopped before the end, by a signal or because `may_begin`, asked
  // before each run, said no.
  bool run(
      std::span<const std::size_t> which, apps::console::progress_bar& bar, const note& note_of,
      const permission& may_begin = [] { return true; }) {
    std::vector<task> tasks;
    for (const std::size_t number : which) {
      for (const double rate : groups_[number].rates) {
        want(number, rate, tasks);
      }
    }
    while (true) {
      std::stable_sort(tasks.begin(), tasks.end(),
                       [](const task& a, const task& b) { return a.run.base < b.run.base; });
      const auto keep = [&](std::size_t i, const run_record& record) {
        log_.append(record);
        bar.advance(note_of(groups_[tasks[i].group], record));
      };
      if (!do_all(tasks, keep, may_begin)) {
        return false;
      }
      tasks.clear();
      for (const std::size_t number : which) {
        grow(number, tasks, bar);
      }
      if (tasks.empty()) {
        return true;
      }
    }
  }

 private:
  struct task {
    std::size_t group;
    run_definition run;
  };

  static run_record do_run(const grid_group& g, const run_definition& run) {
    run_record record;
    static_cast<run_definition&>(record) = run;
    static_cast<run_outcome&>(record) = g.run(run);
    record.name = g.name;
    return record;
  }
  // Calls keep(i, record) for each task; false if it was stopped.
  template <class Keep>
  bool do_all(const std::vector<task>& tasks, const Keep& keep, const permission& may_begin) const {
    if (!runner_) {
      std::atomic<bool> refused{false};
      const bool all_done = apps::console::run_jobs(threads_, tasks.size(), [&](std::size_t i) {
        if (refused || !may_begin()) {
          refused = true;
          return;
        }
        keep(i, do_run(groups_[tasks[i].group], tasks[i].run));
      });
      return all_done && !refused;
    }
    const auto question = [&](std::size_t i) -> std::optional<std::string> {
      if (!may_begin()) {
        return {};
      }
      run_record asked;
      static_cast<run_definition&>(asked) = tasks[i].run;
      return to_line(asked);
    };
    return runner_(
        tasks.size(), question, [this](const std::string& text) { return answer(text); },
        [&](std::size_t i, const std::string& line) { keep(i, from_line(line)); });
  }

  static std::vector<run_definition> definitions(const grid_group& g, double rate) {
    std::vector<run_definition> runs;
    for (int base = 0; base < g.bases; ++base) {
      for (int seed = 0; seed < g.seeds; ++seed) {
        runs.push_back({.shift = g.problem,
                        .method = g.method,
                        .rank = g.rank,
                        .rate = rate,
                        .base = base,
                        .seed = seed,
                        .steps = g.steps,
                        .settings = g.settings});
      }
    }
    return runs;
  }
  std::vector<run_definition> missing(std::size_t number, double rate) const {
    std::vector<run_definition> all = definitions(groups_[number], rate);
    std::erase_if(all, [&](const run_definition& run) { return log_.find(run) != nullptr; });
    return all;
  }
  void want(std::size_t number, double rate, std::vector<task>& tasks) const {
    for (run_definition& run : missing(number, rate)) {
      tasks.push_back({number, std::move(run)});
    }
  }
  // A rate more, if the best is at the edge.
  void grow(std::size_t number, std::vector<task>& tasks, apps::console::progress_bar& bar) {
    grid_group& g = groups_[number];
    // A rate that is kept already may put the best at the new edge: go on until one must be run.
    while (const auto rate = rate_to_add(runs(number), g.added_rates, most_added_rates_)) {
      g.rates.push_back(*rate);
      ++g.added_rates;
      const std::size_t before = tasks.size();
      want(number, *rate, tasks);
      const std::size_t all = definitions(g, *rate).size();
      bar.grow(all, all - (tasks.size() - before));
      if (tasks.size() > before) {
        return;
      }
    }
  }

  run_log& log_;
  int threads_;
  int most_added_rates_;
  job_runner runner_;
  std::vector<grid_group> groups_;
  std::size_t wanted_ = 0;
  std::size_t kept_ = 0;
};

// Who works on a grid. `runner` is for an experiment in the first process, with the number of them
// all.
struct workers {
  int processes = 1;
  grid::job_runner runner{};

  // With so many threads, if it is one process.
  int at_a_time(int threads) const { return runner ? processes : threads; }
  std::string to_string(int threads) const {
    return std::to_string(at_a_time(threads)) + (runner         ? " processes"
                                                 : threads == 1 ? " thread"
                                                                : " threads");
  }
};

}  // namespace studies::common
