#include "run.hpp"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "apps/console/command_line.hpp"
#include "apps/console/pool.hpp"
#include "apps/console/progress.hpp"
#include "experiment.hpp"
#include "report.hpp"

namespace studies::lm {
namespace {

constexpr int interrupted_status = 130;  // of a program ended by Ctrl-C

void print_header(const options& o, const experiment& e, const common::workers& all) {
  const preset& a = o.amount;
  fmt::print("{}\n{}\n", e.model().name(), data_of(e.data()));
  fmt::print("{} methods, rank {}, {} steps of {} definitions, rates {}, {} {}\n", o.methods.size(),
             apps::console::joined(a.ranks, " and "), a.steps, a.batch,
             apps::console::joined(a.rates, " "), a.seeds, a.seeds == 1 ? "seed" : "seeds");
  apps::console::print_backend(describe_backend(), all.to_string(o.threads));
  fmt::print("{} runs", e.wanted_runs());
  if (e.kept_runs() > 0) {
    fmt::print(", {} of them kept in {} from before", e.kept_runs(), o.out);
  }
  if (a.most_added_rates > 0) {
    fmt::print("; where a best rate is at the edge of the grid, more are added");
  }
  if (a.minutes > 0) {
    fmt::print("; begins none that would end after {} minutes", apps::console::to_text(a.minutes));
  }
  fmt::print("\n");
  std::fflush(stdout);
}

}  // namespace

int run_all(const options& wanted, const common::workers& all) {
  const auto begun = std::chrono::steady_clock::now();
  apps::console::stop_on_signals();
  const std::filesystem::path out = wanted.out;
  std::filesystem::create_directories(out);
  common::run_log log(out / "runs.jsonl");
  if (!log.note().empty()) {
    fmt::print("{}\n", log.note());
  }
  experiment e(wanted, log);
  e.run_with(all.runner);
  print_header(wanted, e, all);

  report_contents contents{&wanted, &e, all.runner ? 1 : wanted.threads, {}, {}};
  auto ending = common::ending::completed;
  {
    apps::console::progress_bar bar;
    bar.grow(e.wanted_runs(), e.kept_runs());
    ending = e.run(bar);
    bar.clear();
  }
  for (const int rank : wanted.amount.ranks) {
    table_of_rank t{rank, e.results(rank)};
    if (!t.results.empty()) {
      contents.tables.push_back(std::move(t));
      fmt::print("\n{}", console_table(contents, contents.tables.back()));
    }
  }
  if (ending != common::ending::completed) {
    contents.incomplete = fmt::format(
        "Not all runs are there: {} {} are kept in {}, and the same command goes on from there. "
        "Tables are of the seeds for which every method's first grid of rates is complete.",
        ending == common::ending::stopped ? "stopped by a signal;" : "the time was up;", log.size(),
        (out / "runs.jsonl").string());
    fmt::print("\n{}\n", contents.incomplete);
  }
  if (!contents.tables.empty()) {
    write_tables(out / "summary.csv", contents);
    fmt::print("\ntables: {}\nruns: {}\n", (out / "summary.csv").string(),
               (out / "runs.jsonl").string());
    if (wanted.report) {
      fmt::print("{}\n", write_report(out, contents));
    }
  }
  for (const std::string& text : findings(contents)) {
    fmt::print("{}\n", text);
  }
  for (const std::string& text : caveats(contents)) {
    fmt::print("- {}\n", text);
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begun;
  fmt::print("{} in {}\n", ending == common::ending::completed ? "done" : "stopped",
             apps::console::clock_text(elapsed.count()));
  return ending == common::ending::stopped ? interrupted_status : 0;
}

}  // namespace studies::lm
