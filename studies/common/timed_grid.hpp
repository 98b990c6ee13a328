// A grid of comparisons under a limit of time: every method on every problem, seed by seed, so that
// what there is when the time is up is balanced. One run is measured first, and seeds and rates that
// the others would take too long for are left out, so that what is begun becomes a whole table. No run
// begins that would end after the limit, judged by the longest run so far.
//
//   common::timed_grid<const set_description*, method_entry> runs(log, threads, 2, 29);
//   runs.add(&set, m, rank, {.problem = set.name, …});
//   runs.fit_to_time(threads);
//   runs.run(&set, bar);
//   runs.results(&set, rank)
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "apps/console/pool.hpp"
#include "apps/console/progress.hpp"
#include "comparison.hpp"
#include "grid.hpp"

namespace studies::common {

enum class ending { completed, stopped, out_of_time };

template <class Problem, class Method>
class timed_grid {
 public:
  // `log` must outlive it. 0 minutes: no limit.
  timed_grid(run_log& log, int threads, int most_added_rates, int seeds, double minutes)
      : grid_(log, threads, most_added_rates), seeds_(seeds), minutes_(minutes) {}
  timed_grid(const timed_grid&) = delete;
  timed_grid& operator=(const timed_grid&) = delete;

  // The method must outlive it. The group's `run` is called by several threads.
  void add(const Problem& on, const Method& method, int rank, grid_group group) {
    group.run = [this, run = std::move(group.run)](const run_definition& definition) {
      return timed(run, definition);
    };
    members_.push_back({on, &method, rank, grid_.add(std::move(group))});
  }

  // See common::grid.
  void run_with(grid::job_runner r) { grid_.run_with(std::move(r)); }
  std::string answer(const std::string& question) const { return grid_.answer(question); }
  // As far as known now.
  std::size_t wanted_runs() const {
    std::size_t count = 0;
    for (const member& m : members_) {
      const grid_group& g = grid_.group(m.number);
      count += g.rates.size() * std::size_t(g.bases * g.seeds);
    }
    return count;
  }
  std::size_t kept_runs() const {
    std::size_t missing = 0;
    for (const member& m : members_) {
      const grid_group& g = grid_.group(m.number);
      missing += grid_.missing_runs(m.number, g.rates, g.bases);
    }
    return wanted_runs() - missing;
  }

  // Where there is a limit: does one run of a method that has a rate, and leaves out of all problems
  // what would not end in time, so many runs at a time: seeds beyond the second, then rates at the
  // edges of the grid, then the second seed. What is kept takes no time. Returns what was left out, a
  // sentence for readers, or nothing if all fits.
  std::string fit_to_time(int at_a_time) {
    if (minutes_ <= 0 || !may_begin() || !measure_one()) {
      return {};
    }
    const std::chrono::duration<double> elapsed = clock::now() - begun_;
    const auto fits = [&](std::size_t rates, int seeds) {
      std::size_t runs = 0;
      for (const member& m : members_) {
        runs += grid_.missing_runs(m.number, middle_rates(m, rates), seeds);
      }
      const double rounds = std::ceil(double(runs) / at_a_time);
      return elapsed.count() + margin * longest_run_ * rounds <= 60 * minutes_;
    };
    std::size_t all_rates = 1;
    for (const member& m : members_) {
      all_rates = std::max(all_rates, grid_.group(m.number).rates.size());
    }
    std::size_t rates = all_rates;
    int seeds = seeds_;
    while (!fits(rates, seeds) && (seeds > 1 || rates > 1)) {
      if (seeds > 2) {
        --seeds;
      } else if (rates > 1) {
        --rates;
      } else {
        --seeds;
      }
    }
    if (rates == all_rates && seeds == seeds_) {
      return {};
    }
    for (const member& m : members_) {
      grid_.restrict(m.number, middle_rates(m, rates), seeds);
    }
    const std::string text = fmt::format(
        "A run took {:.0f} s, so that {} of {} seeds and {} of {} rates end within {} minutes; the "
        "others are left "
        "out.",
        longest_run_.load(), seeds, seeds_, rates, all_rates, to_text(minutes_));
    seeds_ = seeds;
    return text;
  }

  // Does what is missing of one problem; note_of(group, record) is a line for the progress bar.
  ending run(const Problem& on, apps::console::progress_bar& bar, const grid::note& note_of) {
    if (grid_.run(numbers_of(on), bar, note_of, [&] { return may_begin(); })) {
      return ending::completed;
    }
    return out_of_time_ && !apps::console::stop_requested ? ending::out_of_time : ending::stopped;
  }

  // Of the methods with this rank or none, in the order of `add`; after run(on). Seeds for which some
  // method's grid is not complete are left out, for every method. Empty if that leaves none.
  std::vector<method_result<Method>> results(const Problem& on, int rank) const {
    const int seeds = complete_seeds(on);
    if (seeds == 0) {
      return {};
    }
    return results_of(members_, on, rank, [&](const member& m) { return complete_runs(m, seeds); });
  }

 private:
  using clock = std::chrono::steady_clock;
  using member = compared_group<Problem, Method>;
  static constexpr double margin = 1.15;  // other methods may take longer than the measured one

  bool measure_one() {
    return std::any_of(members_.begin(), members_.end(), [&](const member& m) {
      return m.method->has_rate && grid_.run_first(m.number, middle_rates(m, 1));
    });
  }
  // So many of a method's rates, in the middle of its grid.
  std::vector<double> middle_rates(const member& m, std::size_t count) const {
    const std::vector<double>& all = grid_.group(m.number).rates;
    const std::size_t n = std::min(count, all.size());
    const auto first = all.begin() + std::ptrdiff_t((all.size() - n + 1) / 2);
    return {first, first + std::ptrdiff_t(n)};
  }

  // Remembers how long a run takes by the clock on the wall.
  template <class Run>
  run_outcome timed(const Run& run, const run_definition& definition) {
    const clock::time_point started = clock::now();
    run_outcome outcome = run(definition);
    const std::chrono::duration<double> took = clock::now() - started;
    double longest = longest_run_;
    while (longest < took.count() && !longest_run_.compare_exchange_weak(longest, took.count())) {
    }
    return outcome;
  }

  bool may_begin() {
    const std::chrono::duration<double> elapsed = clock::now() - begun_;
    if (minutes_ > 0 && elapsed.count() + longest_run_ > 60 * minutes_) {
      out_of_time_ = true;
    }
    return !out_of_time_;
  }

  std::vector<std::size_t> numbers_of(const Problem& on) const {
    std::vector<std::size_t> numbers;
    for (const member& m : members_) {
      if (m.on == on) {
        numbers.push_back(m.number);
      }
    }
    return numbers;
  }

  // The seeds 0 … n − 1 for which every method has a run at each rate of the first grid.
  int complete_seeds(const Problem& on) const {
    const std::vector<std::size_t> numbers = numbers_of(on);
    int complete = 0;
    while (complete < seeds_ && grid_.complete(numbers, complete)) {
      ++complete;
    }
    return complete;
  }

  // The runs with these seeds at the rates that have one for each of them.
  run_group complete_runs(const member& m, int seeds) const {
    run_group runs = grid_.runs(m.number);
    std::erase_if(runs, [&](const run_record* r) { return r->base >= seeds; });
    std::map<double, int> count;
    for (const run_record* const r : runs) {
      ++count[r->rate];
    }
    const int wanted = std::min(seeds, grid_.group(m.number).bases);
    std::erase_if(runs, [&](const run_record* r) { return count.at(r->rate) < wanted; });
    return runs;
  }

  grid grid_;
  std::vector<member> members_;
  int seeds_;
  double minutes_;
  clock::time_point begun_ = clock::now();
  std::atomic<double> longest_run_{0};  // seconds, of those done now
  std::atomic<bool> out_of_time_{false};
};

// What an experiment of a program is made of (run_comparison.hpp): its runs, seen from outside.
template <class Problem, class Method>
class timed_experiment {
 public:
  using result = method_result<Method>;

  void run_with(grid::job_runner r) { runs_.run_with(std::move(r)); }
  std::string answer(const std::string& question) const { return runs_.answer(question); }
  std::string fit_to_time(int at_a_time) { return runs_.fit_to_time(at_a_time); }
  std::size_t wanted_runs() const { return runs_.wanted_runs(); }
  std::size_t kept_runs() const { return runs_.kept_runs(); }

 protected:
  template <class Options>
  timed_experiment(const Options& o, run_log& log)
      : runs_(log, o.threads, o.amount.most_added_rates, o.amount.seeds, o.amount.minutes) {}
  ~timed_experiment() = default;

  timed_grid<Problem, Method> runs_;
};

}  // namespace studies::common
