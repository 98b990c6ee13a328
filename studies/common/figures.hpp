// The two kinds of figures that comparisons draw: accuracies with intervals, and lines. What is in
// them is given as plain data; plot.cpp of a program says what.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "apps/console/gnuplot.hpp"
#include "selection.hpp"

namespace studies::common {

struct line_style {
  std::string colour;  // "#rrggbb"
  int point = 7;       // gnuplot's
  int dash = 1;
};

// Panels side by side.
template <class Item>
struct figure_panel {
  std::string title;
  std::vector<Item> items;
};

// A point and an interval per method. The axis ends at 1 and shows all means; intervals that are wider
// are cut.
struct accuracy_point {
  std::string name;
  line_style look;
  estimate accuracy;
};
apps::console::picture accuracy_figure(const std::string& name, const std::string& title,
                                       const std::string& program,
                                       std::span<const figure_panel<accuracy_point>> panels);

// One curve per method in every panel, given as text with "x y" on each line. The legend is drawn once, in
// the order of `legend`, for the names that have a line anywhere. `axes` are gnuplot's commands.
struct figure_line {
  std::string name;
  line_style look;
  std::string points;
};
struct line_figure_settings {
  std::string name;
  std::string title;
  std::string program;
  std::string axes;
  bool with_points = false;
  bool with_intervals = false;  // points are "x y half": from y − half to y + half, NaN for none
  bool joined = true;           // by lines
};
apps::console::picture line_figure(const line_figure_settings& settings,
                                   std::span<const std::string> legend,
                                   std::span<const figure_panel<figure_line>> panels);

// A curve of the runs at one rate, mean over them, as such points: &run_outcome::curve is the
// validation loss, &run_outcome::training_curve the training loss.
std::string mean_curve(const run_group& runs, double rate,
                       std::vector<curve_point> run_outcome::*curve);

// The mean of a number of the runs at every rate that was tried, as such points. Runs that failed
// leave a gap.
std::string mean_by_rate(const run_group& runs,
                         const std::function<double(const run_record&)>& number_of);

}  // namespace studies::common
