// Line figures of a comparison: one panel per table, in it one line per method.
#pragma once
#include <string>
#include <vector>

#include "comparison.hpp"
#include "figures.hpp"
#include "line_styles.hpp"

namespace studies::common {

// title_of(table) is a panel's title, and points_of(result) gives a line's points, or none. A table has the
// member `results`.
template <class Method, class Table, class Title, class Points>
apps::console::picture method_lines(const std::vector<Method>& methods,
                                    const std::vector<const Table*>& tables,
                                    const line_figure_settings& settings, const Title& title_of,
                                    const Points& points_of) {
  const auto styles = choose_styles(methods);
  std::vector<figure_panel<figure_line>> panels;
  for (const Table* const t : tables) {
    auto& panel = panels.emplace_back();
    panel.title = title_of(*t);
    for (const auto& r : t->results) {
      panel.items.push_back({r.method->name, styles.at(r.method->id), points_of(r)});
    }
  }
  std::vector<std::string> legend;
  for (const Method& m : methods) {
    legend.push_back(m.name);
  }
  return line_figure(settings, legend, panels);
}

// The mean over seeds of a loss during the runs, at the chosen rate.
inline line_figure_settings loss_figure(const std::string& program, const std::string& name,
                                        const std::string& what, bool with_points) {
  return {.name = name,
          .title = what + " loss at the chosen rate, mean over seeds",
          .program = program,
          .axes =
              "  set xrange [0:*] noextend\n"
              "  set xlabel \"training steps, everything charged\" offset 0,0.3\n"
              "  set ylabel \"" +
              what + " loss\"\n",
          .with_points = with_points};
}
// The mean over seeds of a number at every rate that was tried; `marks` are the numbers of the axis.
inline line_figure_settings rate_figure(const std::string& program, const std::string& name,
                                        const std::string& what, const std::string& marks) {
  return {.name = name,
          .title = what + " against learning rate, mean over seeds",
          .program = program,
          .axes =
              "  set logscale x\n  set xrange [*:*] noextend\n  set format x \"%g\"\n"
              "  set xtics (" +
              marks +
              ")\n"
              "  set xlabel \"learning rate\" offset 0,0.3\n"
              "  set ylabel \"" +
              what + "\"\n",
          .with_points = true};
}

// The points of such a line.
template <class Method, class Number>
std::string points_by_rate(const method_result<Method>& r, const Number& number_of) {
  return r.method->has_rate ? mean_by_rate(r.runs, number_of) : std::string();
}

}  // namespace studies::common
