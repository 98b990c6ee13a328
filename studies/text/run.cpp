#include "run.hpp"

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "report.hpp"
#include "studies/common/run_comparison.hpp"
#include "studies/common/table.hpp"

namespace studies::text {
namespace {

struct study {
  using experiment = text::experiment;
  using contents = report_contents;

  static void print_header(const options& o, const experiment& e, const common::workers& all) {
    fmt::print("{}\n", e.model_name());
    for (const auto& [name, set] : e.sets()) {
      fmt::print(
          "{}: {} rated sentences, {} train, {} validation, {} test ({} positive){}\n", name,
          set.rated, set.train.size(), set.validation.size(), set.test.size(),
          apps::console::fixed(set.positive(), 3),
          set.cut > 0 ? fmt::format(", {} cut to {} tokens", set.cut, longest_sentence) : "");
    }
    common::print_plan(o, e, all, "sentences", describe_backend());
  }
  // One set after the other. The tables of a set are there also when the work on it was stopped: then
  // of the seeds that are complete.
  static common::ending run(contents& c, experiment& e, apps::console::progress_bar& bar) {
    auto how = common::ending::completed;
    for (const set_description* const set : c.wanted->sets) {
      how = e.run(*set, bar);
      bar.clear();
      for (const int rank : c.wanted->amount.ranks) {
        table_of_set t{set, rank, e.results(*set, rank)};
        if (!t.results.empty()) {
          common::print_results(t.set->title, t.rank, t.results);
          c.tables.push_back(std::move(t));
        }
      }
      if (how != common::ending::completed) {
        break;
      }
    }
    return how;
  }
  // Methods without rank are in every rank's table, once in the file.
  static void write_tables(const std::filesystem::path& file, const contents& c) {
    std::vector<summary_row> rows;
    std::set<std::string> listed;
    for (const table_of_set& t : c.tables) {
      for (const auto& r : t.results) {
        if (listed.insert(fmt::format("{} {} {}", t.set->name, r.method->id, r.rank)).second) {
          rows.push_back(r.summary);
        }
      }
    }
    common::write_summary(file, rows);
  }
  static constexpr auto write_report = &text::write_report;
  static constexpr auto findings = &text::findings;
  static constexpr auto caveats = &text::caveats;
};

}  // namespace

int run_all(const options& wanted, const common::workers& all) {
  return common::run_comparison<study>(wanted, all);
}

}  // namespace studies::text
