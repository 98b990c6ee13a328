#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "report.hpp"
#include "studies/common/figures.hpp"
#include "studies/common/line_styles.hpp"

namespace studies::text {
namespace {

using apps::console::picture;
using common::accuracy_point;
using common::figure_line;
using common::figure_panel;
using common::line_style;

double test_accuracy(const common::run_record& r) {
  return r.test_accuracy;
}

// The figures of one rank, a panel a set.
class figures_of_rank {
 public:
  figures_of_rank(const report_contents& c, int rank)
      : methods_(c.wanted->methods),
        styles_(common::choose_styles(methods_)),
        suffix_(c.wanted->amount.ranks.size() > 1 ? fmt::format("-rank{}", rank) : "") {
    for (const table_of_set& t : c.tables) {
      if (t.rank == rank) {
        tables_.push_back(&t);
      }
    }
  }

  picture accuracy() const {
    std::vector<figure_panel<accuracy_point>> panels;
    for (const table_of_set* const t : tables_) {
      auto& panel = panels.emplace_back();
      panel.title = title_of(*t);
      for (const experiment::result& r : t->results) {
        panel.items.push_back({r.method->name, styles_.at(r.method->id), r.summary.test_accuracy});
      }
    }
    return common::accuracy_figure(
        "accuracy" + suffix_, "Test accuracy, mean and 95 % interval over seeds", program, panels);
  }

  // The mean over seeds at the chosen rate.
  picture loss(const std::string& name, std::vector<common::curve_point> run_outcome::*curve,
               bool with_points) const {
    const std::string axes =
        "  set xrange [0:*] noextend\n"
        "  set xlabel \"training steps, everything charged\" offset 0,0.3\n";
    return lines({.name = name + suffix_,
                  .title = name + " loss at the chosen rate, mean over seeds",
                  .program = program,
                  .axes = axes + "  set ylabel \"" + name + " loss\"\n",
                  .with_points = with_points},
                 [&](const experiment::result& r) {
                   return common::mean_curve(r.runs, r.summary.rate, curve);
                 });
  }

  // The mean over seeds of a number at every rate that was tried.
  picture by_rate(const std::string& name, const std::string& what,
                  double (*number_of)(const common::run_record&)) const {
    return lines(
        {.name = name + suffix_,
         .title = what + " against learning rate, mean over seeds",
         .program = program,
         .axes = "  set logscale x\n  set xrange [*:*] noextend\n  set format x \"%g\"\n"
                 "  set xtics (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)\n"
                 "  set xlabel \"learning rate\" offset 0,0.3\n"
                 "  set ylabel \"" +
                 what + "\"\n",
         .with_points = true},
        [&](const experiment::result& r) {
          return r.method->has_rate ? common::mean_by_rate(r.runs, number_of) : std::string();
        });
  }

 private:
  static constexpr const char* program = "preheat-text";

  template <class Points>
  picture lines(const common::line_figure_settings& settings, Points points) const {
    std::vector<figure_panel<figure_line>> panels;
    for (const table_of_set* const t : tables_) {
      auto& panel = panels.emplace_back();
      panel.title = title_of(*t);
      for (const experiment::result& r : t->results) {
        panel.items.push_back({r.method->name, styles_.at(r.method->id), points(r)});
      }
    }
    std::vector<std::string> legend;
    for (const method_entry& m : methods_) {
      legend.push_back(m.name);
    }
    return common::line_figure(settings, legend, panels);
  }

  const std::vector<method_entry>& methods_;
  std::map<std::string, line_style> styles_;
  std::string suffix_;
  std::vector<const table_of_set*> tables_;
};

}  // namespace

std::vector<picture> figures_of(const report_contents& c) {
  std::vector<picture> all;
  for (const int rank : c.wanted->amount.ranks) {
    const bool has_table = std::any_of(c.tables.begin(), c.tables.end(),
                                       [&](const table_of_set& t) { return t.rank == rank; });
    if (!has_table) {
      continue;
    }
    const figures_of_rank figures(c, rank);
    all.push_back(figures.accuracy());
    all.push_back(figures.loss("training", &run_outcome::training_curve, false));
    if (c.wanted->training.evaluations > 1) {
      all.push_back(figures.loss("validation", &run_outcome::curve, true));
    }
    all.push_back(figures.by_rate("rates", "test accuracy", test_accuracy));
    all.push_back(figures.by_rate("fit", "last training loss", last_training_loss));
  }
  return all;
}

}  // namespace studies::text
