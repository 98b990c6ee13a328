// The whole of a program that compares methods under a limit of time, but the reading of its command
// line: what it is about to do, the runs, the tables, the report, and what a reader has to know.
#pragma once
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>

#include <fmt/format.h>

#include "apps/console/command_line.hpp"
#include "apps/console/pool.hpp"
#include "apps/console/progress.hpp"
#include "timed_grid.hpp"

namespace studies::common {

inline constexpr int interrupted_status = 130;  // of a program ended by Ctrl-C

// After what the program says of its data; `examples` are what a batch is made of.
template <class Options, class Experiment>
void print_plan(const Options& o, const Experiment& e, const workers& all,
                const std::string& examples, const std::string& backend) {
  const auto& a = o.amount;
  fmt::print("{} methods, rank {}, {} steps of {} {}, rates {}, {} {}\n", o.methods.size(),
             joined(a.ranks, " and "), a.steps, a.batch, examples, joined(a.rates, " "), a.seeds,
             a.seeds == 1 ? "seed" : "seeds");
  print_backend(backend, all.to_string(o.threads));
  fmt::print("{} runs", e.wanted_runs());
  if (e.kept_runs() > 0) {
    fmt::print(", {} of them kept in {} from before", e.kept_runs(), o.out);
  }
  if (a.most_added_rates > 0) {
    fmt::print("; where a best rate is at the edge of the grid, more are added");
  }
  if (a.minutes > 0) {
    fmt::print("; begins none that would end after {} minutes", to_text(a.minutes));
  }
  fmt::print("\n");
  std::fflush(stdout);
}

// Returns the exit status. A study has
//
//   experiment, contents                   types: the runs, and what the report is made of
//   print_header(options, experiment, workers)
//   run(contents, experiment, bar)         does the runs, and prints and adds the tables; an `ending`
//   write_tables(path, contents)
//   write_report(folder, contents), findings(contents), caveats(contents)
//
// as static members. Throws std::exception for what cannot be read, written or trained.
template <class Study, class Options>
int run_comparison(const Options& wanted, const workers& all) {
  const auto begun = std::chrono::steady_clock::now();
  stop_on_signals();
  const std::filesystem::path out = wanted.out;
  std::filesystem::create_directories(out);
  run_log log(out / "runs.jsonl");
  if (!log.note().empty()) {
    fmt::print("{}\n", log.note());
  }
  typename Study::experiment e(wanted, log);
  e.run_with(all.runner);
  Study::print_header(wanted, e, all);

  typename Study::contents contents{
      .wanted = &wanted, .done = &e, .runs_at_a_time = all.at_a_time(wanted.threads)};
  contents.left_out = e.fit_to_time(contents.runs_at_a_time);
  if (!contents.left_out.empty()) {
    fmt::print("{}\n", contents.left_out);
  }
  auto how = ending::completed;
  {
    progress_bar bar;
    bar.grow(e.wanted_runs(), e.kept_runs());
    how = Study::run(contents, e, bar);
    bar.clear();
  }
  if (how != ending::completed) {
    contents.incomplete = fmt::format(
        "Not all runs are there: {} {} are kept in {}, and the same command goes on from there. "
        "Tables are of the seeds for which every method's first grid of rates is complete.",
        how == ending::stopped ? "stopped by a signal;" : "the time was up;", log.size(),
        (out / "runs.jsonl").string());
    fmt::print("\n{}\n", contents.incomplete);
  }
  if (!contents.tables.empty()) {
    Study::write_tables(out / "summary.csv", contents);
    fmt::print("\ntables: {}\nruns: {}\n", (out / "summary.csv").string(),
               (out / "runs.jsonl").string());
    if (wanted.report) {
      fmt::print("{}\n", Study::write_report(out, contents));
    }
  }
  for (const std::string& text : Study::findings(contents)) {
    fmt::print("{}\n", text);
  }
  for (const std::string& text : Study::caveats(contents)) {
    fmt::print("- {}\n", text);
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begun;
  fmt::print("{} in {}\n", how == ending::completed ? "done" : "stopped",
             clock_text(elapsed.count()));
  return how == ending::stopped ? interrupted_status : 0;
}

}  // namespace studies::common
