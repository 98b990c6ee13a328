// What studies that compare methods on problems share: which group of the grid is whose, results
// beside a reference method's, the best so far, and the table of a problem.
#pragma once
#include <cstdio>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "grid.hpp"
#include "table.hpp"

namespace studies::common {

// The method that the others' gains are counted from.
inline constexpr const char* reference_method = "lora";

// All runs of one method at one rank on one problem, a group of the grid. Rank 0: the method has none.
template <class Problem, class Method>
struct compared_group {
  Problem on;
  const Method* method;
  int rank;
  std::size_t number;  // in the grid
};

template <class Method>
struct method_result {
  const Method* method;
  int rank;
  run_group runs;
  summary_row summary;
};

// Of the methods with this rank or none, in their order. runs_of(group) gives a group's runs.
template <class Problem, class Method, class RunsOf>
std::vector<method_result<Method>> results_of(
    const std::vector<compared_group<Problem, Method>>& groups, const Problem& on, int rank,
    const RunsOf& runs_of) {
  std::vector<method_result<Method>> all;
  run_group reference;
  for (const auto& g : groups) {
    if (g.on == on && (g.rank == rank || !g.method->has_rank)) {
      all.push_back({g.method, g.rank, runs_of(g), {}});
      if (g.method->id == reference_method) {
        reference = all.back().runs;
      }
    }
  }
  for (auto& r : all) {
    const bool is_reference = r.method->id == reference_method;
    r.summary = summarize(r.runs, is_reference ? run_group{} : reference);
  }
  return all;
}

// The best validation accuracy of any single run on a problem, for the progress line. Threads may
// share it.
class best_accuracies {
 public:
  // Notes a run, and returns the line. With `counts` false the run is none that could be the best.
  std::string note(const std::string& problem, const std::string& method, double accuracy,
                   bool counts = true) {
    const std::lock_guard lock(mutex_);
    auto& [best, holder] = best_[problem];
    if (counts && accuracy > best) {
      best = accuracy;
      holder = method;
    }
    return holder.empty()
               ? problem
               : fmt::format("{}, best {} ({})", problem, apps::console::fixed(best, 3), holder);
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::pair<double, std::string>> best_;  // by problem
};

template <class Method>
void print_results(const std::string& title, int rank,
                   const std::vector<method_result<Method>>& results) {
  std::vector<summary_row> rows;
  bool edges = false;
  std::set<std::string> cuts;
  for (const auto& r : results) {
    rows.push_back(r.summary);
    edges = edges || r.summary.at_edge;
    for (const run_record* const run : r.runs) {
      if (!run->cut_layers.empty()) {
        cuts.insert(run->cut_layers);
      }
    }
  }
  fmt::print("\n{} · rank {}\n\n{}", title, rank, summary_table(rows));
  if (edges) {
    fmt::print("* the best rate is the smallest or largest that was tried\n");
  }
  for (const std::string& cut : cuts) {
    fmt::print("rank cut to what a layer can hold: {}\n", cut);
  }
  std::fflush(stdout);
}

}  // namespace studies::common
