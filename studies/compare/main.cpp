// preheat-compare: LoRA's initializations on real digits, from one command.
//
// A classifier is pretrained on upright digits, then adapted to three shifts by every method at the
// same rank and the same number of training steps, HRP's preheating included. Learning rates are
// chosen on validation data; test accuracy has intervals over several pretrained networks.
//
//   preheat-compare --quick
//   preheat-compare --help
//   mpirun -n 8 preheat-compare         # the same runs, spread over processes
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "apps/console/command_line.hpp"
#include "apps/console/pool.hpp"
#include "apps/console/progress.hpp"
#include "experiment.hpp"
#include "options.hpp"
#include "plot.hpp"
#include "studies/common/program.hpp"
#include "studies/common/results.hpp"
#include "studies/common/selection.hpp"
#include "studies/common/table.hpp"

namespace {

using namespace studies::compare;

// The exit status of a program ended by Ctrl-C.
constexpr int interrupted_status = 130;

void print_header(const options& o, const experiment& e, const workers& all) {
  fmt::print("{} methods × {} shifts, rank {}, {} steps of batch {}, rates {}, {} bases × {} {}\n",
             o.methods.size(), o.shifts.size(), joined(o.ranks, " and "), o.training.steps,
             o.training.batch, joined(o.amount.rates, " "), o.amount.bases, o.amount.seeds,
             o.amount.seeds == 1 ? "seed" : "seeds");
  print_backend(describe_backend(), all.to_string(o.threads));
  if (e.kept_runs() > 0) {
    fmt::print(", {} of them kept in {} from before", e.kept_runs(), o.out);
  }
  fmt::print("{}\n", o.amount.most_added_rates > 0
                         ? "; where a best rate is at the edge of the grid, more are added"
                         : "");
  std::fflush(stdout);
}

int compare_all(const options& o, const workers& all) {
  const auto begun = std::chrono::steady_clock::now();
  stop_on_signals();
  const std::filesystem::path out = o.out;
  std::filesystem::create_directories(out);
  run_log log(out / "runs.jsonl");
  if (!log.note().empty()) {
    fmt::print("{}\n", log.note());
  }
  experiment e(o, log);
  e.run_with(all.runner);
  print_header(o, e, all);

  std::vector<summary_row> summary;
  std::map<int, std::vector<plotted_shift>> plotted;  // by rank
  bool completed = true;
  {
    progress_bar bar;
    bar.grow(e.wanted_runs(), e.kept_runs());
    for (const shift s : o.shifts) {
      completed = e.run(s, bar);
      if (!completed) {
        break;
      }
      bar.clear();
      std::set<std::string> listed;  // methods without rank are in every rank's table, once in csv
      for (const int rank : o.ranks) {
        const std::vector<experiment::result> results = e.results(s, rank);
        print_results(std::string(describe(s)), rank, results);
        plotted_shift& panel = plotted[rank].emplace_back();
        panel.title = describe(s);
        for (const experiment::result& r : results) {
          panel.groups.push_back(r);
          if (listed.insert(fmt::format("{} {}", r.method->id, r.rank)).second) {
            summary.push_back(r.summary);
          }
        }
      }
    }
  }

  if (!summary.empty()) {
    write_summary(out / "summary.csv", summary);
    fmt::print("\ntables: {}\nruns: {}\n", (out / "summary.csv").string(),
               (out / "runs.jsonl").string());
  }
  if (!completed) {
    fmt::print("stopped. {} runs are kept in {}; the same command goes on from there.\n",
               log.size(), (out / "runs.jsonl").string());
    return interrupted_status;
  }
  if (o.plots) {
    for (const auto& [rank, shifts] : plotted) {
      const std::string suffix = plotted.size() == 1 ? "" : fmt::format("-rank{}", rank);
      fmt::print("{}\n", write_plots(out / "plots", suffix, o.methods, shifts));
    }
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begun;
  fmt::print("done in {}\n", clock_text(elapsed.count()));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return main_of<experiment>("preheat-compare", argc, argv, parse, compare_all);
}
