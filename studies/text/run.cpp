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
#include "studies/common/table.hpp"

namespace studies::text {
namespace {

constexpr int interrupted_status = 130;  // of a program ended by Ctrl-C

void print_header(const options& o, const experiment& e, const common::workers& all) {
  const preset& a = o.amount;
  fmt::print("{}\n", e.model_name());
  for (const auto& [name, set] : e.sets()) {
    fmt::print("{}: {} rated sentences, {} train, {} validation, {} test ({} positive){}\n", name,
               set.rated, set.train.size(), set.validation.size(), set.test.size(),
               apps::console::fixed(set.positive(), 3),
               set.cut > 0 ? fmt::format(", {} cut to {} tokens", set.cut, longest_sentence) : "");
  }
  fmt::print("{} methods, rank {}, {} steps of {} sentences, rates {}, {} {}\n", o.methods.size(),
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
    fmt::print("; ends within {} minutes", apps::console::to_text(a.minutes));
  }
  fmt::print("\n");
  std::fflush(stdout);
}

// The tables of a set, also when the work on it was stopped: then of the seeds that are complete.
void add_tables(const options& o, const experiment& e, const set_description& set,
                std::vector<table_of_set>& tables) {
  for (const int rank : o.amount.ranks) {
    table_of_set t{&set, rank, e.results(set, rank)};
    if (!t.results.empty()) {
      common::print_results(t.set->title, t.rank, t.results);
      tables.push_back(std::move(t));
    }
  }
}

// Methods without rank are in every rank's table, once in the file.
void write_tables(const std::filesystem::path& file, const std::vector<table_of_set>& tables) {
  std::vector<summary_row> rows;
  std::set<std::string> listed;
  for (const table_of_set& t : tables) {
    for (const experiment::result& r : t.results) {
      if (listed.insert(fmt::format("{} {} {}", t.set->name, r.method->id, r.rank)).second) {
        rows.push_back(r.summary);
      }
    }
  }
  common::write_summary(file, rows);
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

  report_contents contents{&wanted, &e, {}, {}};
  auto ending = experiment::ending::completed;
  {
    apps::console::progress_bar bar;
    bar.grow(e.wanted_runs(), e.kept_runs());
    for (const set_description* const set : wanted.sets) {
      ending = e.run(*set, bar);
      bar.clear();
      add_tables(wanted, e, *set, contents.tables);
      if (ending != experiment::ending::completed) {
        break;
      }
    }
  }
  if (ending != experiment::ending::completed) {
    contents.incomplete = fmt::format(
        "Not all runs are there: {} {} are kept in {}, and the same command goes on from there. "
        "Tables "
        "are of the seeds for which every method's first grid of rates is complete.",
        ending == experiment::ending::stopped ? "stopped by a signal;" : "the time was up;",
        log.size(), (out / "runs.jsonl").string());
    fmt::print("\n{}\n", contents.incomplete);
  }
  if (!contents.tables.empty()) {
    write_tables(out / "summary.csv", contents.tables);
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
  fmt::print("{} in {}\n", ending == experiment::ending::completed ? "done" : "stopped",
             apps::console::clock_text(elapsed.count()));
  return ending == experiment::ending::stopped ? interrupted_status : 0;
}

}  // namespace studies::text
