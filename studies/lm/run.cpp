#include "run.hpp"

#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "evidence.hpp"
#include "evidence_figures.hpp"
#include "report.hpp"
#include "studies/common/run_comparison.hpp"

namespace studies::lm {
namespace {

struct study {
  using experiment = lm::experiment;
  using contents = report_contents;

  static void print_header(const options& o, const experiment& e, const common::workers& all) {
    fmt::print("{}\n{}\n", e.model().name(), data_of(e.data()));
    common::print_plan(o, e, all, "definitions", describe_backend());
  }
  static common::ending run(contents& c, experiment& e, apps::console::progress_bar& bar) {
    const common::ending how = e.run(bar);
    bar.clear();
    for (const int rank : c.wanted->amount.ranks) {
      table_of_rank t{rank, e.results(rank)};
      if (!t.results.empty()) {
        c.tables.push_back(std::move(t));
        fmt::print("\n{}", console_table(c, c.tables.back()));
      }
    }
    return how;
  }
  static constexpr auto write_tables = &lm::write_tables;
  static constexpr auto write_report = &lm::write_report;
  static constexpr auto findings = &lm::findings;
  static constexpr auto caveats = &lm::caveats;
};

}  // namespace

int run_all(const options& wanted, const common::workers& all) {
  if (!wanted.report_of.empty()) {
    std::vector<common::run_record> runs;
    for (const std::string& file : wanted.report_of) {
      for (common::run_record& r : common::read_runs(file).runs) {
        runs.push_back(std::move(r));
      }
    }
    const std::vector<method_entry> known = all_methods();
    fmt::print("{}", evidence_of(runs, known));
    if (!wanted.figures.empty()) {
      fmt::print("{}\n",
                 apps::console::draw_pictures(wanted.figures, evidence_figures(runs, known)));
    }
    return 0;
  }
  return common::run_comparison<study>(wanted, all);
}

}  // namespace studies::lm
