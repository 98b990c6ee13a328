#include <string>
#include <vector>

#include "report.hpp"
#include "studies/common/figures.hpp"
#include "studies/common/line_styles.hpp"

namespace studies::lm {
namespace {

using apps::console::picture;
using common::figure_line;
using common::figure_panel;
using common::run_record;

// One line a method and a panel a rank; points_of(result) gives a line's points.
template <class Points>
picture lines(const report_contents& c, const common::line_figure_settings& settings,
              Points points_of) {
  const auto styles = common::choose_styles(c.wanted->methods);
  std::vector<figure_panel<figure_line>> panels;
  for (const table_of_rank& t : c.tables) {
    auto& panel = panels.emplace_back();
    panel.title = "rank " + std::to_string(t.rank);
    for (const experiment::result& r : t.results) {
      panel.items.push_back({r.method->name, styles.at(r.method->id), points_of(r)});
    }
  }
  std::vector<std::string> legend;
  for (const method_entry& m : c.wanted->methods) {
    legend.push_back(m.name);
  }
  return common::line_figure(settings, legend, panels);
}

// The mean over seeds of a number at every rate that was tried.
template <class Number>
picture by_rate(const report_contents& c, const std::string& name, const std::string& what,
                Number number_of) {
  return lines(c,
               {.name = name,
                .title = what + " against learning rate, mean over seeds",
                .program = "preheat-lm",
                .axes = "  set logscale x\n  set xrange [*:*] noextend\n  set format x \"%g\"\n"
                        "  set xtics (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03)\n"
                        "  set xlabel \"learning rate\" offset 0,0.3\n"
                        "  set ylabel \"" +
                        what + "\"\n",
                .with_points = true},
               [&](const experiment::result& r) {
                 return r.method->has_rate ? common::mean_by_rate(r.runs, number_of)
                                           : std::string();
               });
}

}  // namespace

std::vector<picture> figures_of(const report_contents& c) {
  if (c.tables.empty()) {
    return {};
  }
  std::vector<picture> all;
  all.push_back(lines(c,
                      {.name = "training",
                       .title = "training loss at the chosen rate, mean over seeds",
                       .program = "preheat-lm",
                       .axes = "  set xrange [0:*] noextend\n"
                               "  set xlabel \"training steps, everything charged\" offset 0,0.3\n"
                               "  set ylabel \"training loss\"\n"},
                      [](const experiment::result& r) {
                        return common::mean_curve(r.runs, r.summary.rate,
                                                  &run_outcome::training_curve);
                      }));
  if (c.wanted->amount.rates.size() > 1) {
    all.push_back(
        by_rate(c, "rates", "eval loss", [](const run_record& r) { return r.test_loss; }));
    all.push_back(by_rate(c, "drift", "drift loss", [](const run_record& r) {
      const auto found = r.measures.find(drift_loss);
      return found == r.measures.end() ? common::not_a_number : found->second;
    }));
  }
  return all;
}

}  // namespace studies::lm
