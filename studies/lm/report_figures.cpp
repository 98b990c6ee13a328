#include <string>
#include <vector>

#include "report.hpp"
#include "studies/common/comparison_figures.hpp"

namespace studies::lm {
namespace {

using apps::console::picture;
using common::run_record;

constexpr const char* program = "preheat-lm";

template <class Points>
picture lines(const report_contents& c, const common::line_figure_settings& settings,
              const Points& points_of) {
  std::vector<const table_of_rank*> tables;
  for (const table_of_rank& t : c.tables) {
    tables.push_back(&t);
  }
  return common::method_lines(
      c.wanted->methods, tables, settings,
      [](const table_of_rank& t) { return "rank " + std::to_string(t.rank); }, points_of);
}

template <class Number>
picture by_rate(const report_contents& c, const std::string& name, const std::string& what,
                const Number& number_of) {
  return lines(c,
               common::rate_figure(program, name, what,
                                   "0.0001, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.03, 0.1"),
               [&](const experiment::result& r) { return common::points_by_rate(r, number_of); });
}

}  // namespace

std::vector<picture> figures_of(const report_contents& c) {
  if (c.tables.empty()) {
    return {};
  }
  std::vector<picture> all;
  all.push_back(lines(c, common::loss_figure(program, "training", "training", false),
                      [](const experiment::result& r) {
                        return common::mean_curve(r.runs, r.summary.rate,
                                                  &run_outcome::training_curve);
                      }));
  if (c.wanted->amount.rates.size() > 1) {
    all.push_back(
        by_rate(c, "rates", "eval loss", [](const run_record& r) { return r.test_loss; }));
    all.push_back(by_rate(c, "drift", "drift loss", drift_of));
  }
  return all;
}

}  // namespace studies::lm
