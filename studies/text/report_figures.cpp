#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "report.hpp"
#include "studies/common/comparison_figures.hpp"

namespace studies::text {
namespace {

using apps::console::picture;
using common::accuracy_point;
using common::figure_panel;
using common::line_style;

double test_accuracy(const common::run_record& r) {
  return r.test_accuracy;
}

// The figures of one rank, one panel per set.
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

  picture loss(const std::string& name, std::vector<common::curve_point> run_outcome::*curve,
               bool with_points) const {
    return lines(common::loss_figure(program, name + suffix_, name, with_points),
                 [&](const experiment::result& r) {
                   return common::mean_curve(r.runs, r.summary.rate, curve);
                 });
  }
  picture by_rate(const std::string& name, const std::string& what,
                  double (*number_of)(const common::run_record&)) const {
    return lines(common::rate_figure(program, name + suffix_, what,
                                     "0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1"),
                 [&](const experiment::result& r) { return common::points_by_rate(r, number_of); });
  }

 private:
  static constexpr const char* program = "preheat-text";

  template <class Points>
  picture lines(const common::line_figure_settings& settings, const Points& points) const {
    return common::method_lines(methods_, tables_, settings, title_of, points);
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
