#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "report.hpp"

namespace studies::map {

namespace {

using apps::console::gnuplot_text;
using apps::console::picture;

constexpr const char* program = "preheat-map";

// A heat map a kind: gain over random directions by preheating steps (across) and rank (up).
picture heat_maps(const trials& t, const amount& a, const map_setup& m, optimizer o,
                  const std::string& name) {
  std::string data = "# column row gain\n";
  std::vector<std::string> panels;
  double largest = 0.01;
  std::vector<start_config> kinds;
  for (const start_config& kind : m.kinds) {
    if (kind.optimizer == o) {
      kinds.push_back(kind);
    }
  }
  for (const start_config& kind : kinds) {
    data += fmt::format("# {}\n", kind_of(kind));
    for (std::size_t i = 0; i < preheating_ranks(a).size(); ++i) {
      for (std::size_t j = 0; j < shares(a).size(); ++j) {
        const start_config c =
            preheated_config(kind, preheating_ranks(a)[i], shares(a)[j], m.at.steps);
        const double value = gain(t, m.at, c, random_like(c)).mean;
        largest = std::max(largest, std::abs(value));
        data += fmt::format("{} {} {}\n", j, i, apps::console::number(value));
      }
    }
    data += "\n\n";
  }
  std::string across;
  std::string up;
  for (std::size_t j = 0; j < shares(a).size(); ++j) {
    across += fmt::format("{}\"{}\" {}", j == 0 ? "" : ", ",
                          preheating_steps(shares(a)[j], m.at.steps), j);
  }
  for (std::size_t i = 0; i < preheating_ranks(a).size(); ++i) {
    up += fmt::format("{}\"{}\" {}", i == 0 ? "" : ", ", preheating_ranks(a)[i], i);
  }
  for (std::size_t k = 0; k < kinds.size(); ++k) {
    panels.push_back(apps::console::panel_title(kind_of(kinds[k])) +
                     fmt::format("  set palette defined (-1 \"#b2182b\", 0 \"#f7f7f7\", 1 "
                                 "\"#2166ac\")\n  set cbrange [{0}:{1}]\n  unset colorbox\n"
                                 "  unset grid\n  set xtics ({2})\n  set ytics ({3})\n"
                                 "  set xrange [-0.5:{4}]\n  set yrange [-0.5:{5}]\n"
                                 "  set xlabel \"preheating steps\" offset 0,0.3\n  {6}\n"
                                 "  plot \"{7}.dat\" index {8} using 1:2:(0.5):(0.5):3 with "
                                 "boxxyerror fillstyle solid linecolor palette notitle, \\\n"
                                 "       \"\" index {8} using 1:2:(sprintf(\"%+.3f\", $3)) with "
                                 "labels font \",10\" notitle\n",
                                 -largest, largest, across, up, double(shares(a).size()) - 0.5,
                                 double(preheating_ranks(a).size()) - 0.5,
                                 k == 0 ? "set ylabel \"preheating rank R\"" : "unset ylabel", name,
                                 k));
  }
  const apps::console::layout layout{
      .width = 1160, .height = 380, .left = 80, .legend = 0, .panels = panels.size()};
  const std::string title =
      fmt::format("Gain over random directions, {}, {} steps in all, preheating by {}",
                  m.at.problem, m.at.steps, o == optimizer::sgd ? "SGD" : "Adam");
  return {name, apps::console::script(name, title, layout, panels, program), data};
}

struct curve {
  std::string name;
  std::vector<double> x;
  std::vector<common::estimate> y;
};

// Curves with their intervals.
picture curves(const std::string& name, const std::string& title, const std::string& x,
               const std::string& y, const std::vector<curve>& all) {
  constexpr std::array colours = {"#d7191c", "#08519c", "#1b7837", "#fd8d3c", "#555555", "#8c2d04"};
  std::string data = "# x y half\n";
  std::string plots;
  for (std::size_t k = 0; k < all.size(); ++k) {
    data += fmt::format("# {}\n", all[k].name);
    for (std::size_t i = 0; i < all[k].x.size(); ++i) {
      data += fmt::format("{} {} {}\n", all[k].x[i], apps::console::number(all[k].y[i].mean),
                          apps::console::number(all[k].y[i].half));
    }
    data += "\n\n";
    plots += fmt::format(
        "{}\"{}.dat\" index {} using 1:2:3 with yerrorlines pointtype 7 pointsize 0.6 linecolor "
        "rgb "
        "\"{}\" title {}",
        k == 0 ? "" : ", \\\n       ", name, k, colours[k % colours.size()],
        gnuplot_text(all[k].name));
  }
  const std::string panel = fmt::format(
      "  set key outside right top\n  set logscale x 2\n  set xlabel {} offset 0,0.3\n  set ylabel "
      "{}\n  plot {}\n",
      gnuplot_text(x), gnuplot_text(y), plots);
  const apps::console::layout layout{
      .width = 940, .height = 420, .left = 90, .legend = 300, .panels = 1};
  return {name, apps::console::script(name, title, layout, {panel}, program), data};
}

picture sizes(const trials& t, const amount& a, const scored_config& chosen, const setup& p) {
  curve random{"random, orthonormal", {}, {}};
  curve gaussian{"random, gaussian", {}, {}};
  curve preheated{"preheated", {}, {}};
  for (const double norm : row_norms(a)) {
    start_config c = preheated_config(chosen.kind, chosen.rank, chosen.share, p.steps);
    c.row_norm = norm;
    const auto add = [&](curve& to, const start_config& start) {
      to.x.push_back(norm);
      to.y.push_back(common::mean_with_interval(t.of(p, start).test_accuracy));
    };
    add(random, {.from = start::orthonormal, .row_norm = norm});
    add(gaussian, {.from = start::gaussian, .row_norm = norm});
    add(preheated, c);
  }
  return curves("sizes", fmt::format("Directions by their size, {}, {} steps", p.problem, p.steps),
                "norm of every row of A", "test accuracy", {preheated, random, gaussian});
}

picture energies(const energy_table& e, const amount& a) {
  std::vector<curve> all;
  const auto mean = [](const std::vector<double>& values) {
    return common::mean_with_interval(values);
  };
  for (const int rank : preheating_ranks(a)) {
    curve c{fmt::format("preheated, R {}", rank), {}, {}};
    for (const energy_row& row : e.rows) {
      if (row.start.rank == rank) {
        c.x.push_back(row.start.steps);
        c.y.push_back(mean(row.at_start));
      }
    }
    all.push_back(std::move(c));
  }
  const std::vector<double> steps = all.front().x;
  const auto level = [&](const std::string& name, const std::vector<double>& values) {
    all.push_back({name, steps, std::vector(steps.size(), mean(values))});
  };
  level("random rows", e.rows.front().at_start);
  level("the best rows of this rank", e.best);
  return curves("energy",
                "Energy of full fine-tuning's change in the rows of A before training, rotated",
                "preheating steps (train A, SGD)", "share of the energy", all);
}

}  // namespace

std::vector<picture> pictures(const trials& t, const amount& a, const scored_config& chosen,
                              const energy_table& e) {
  std::vector<picture> all;
  for (const map_setup& m : map_setups(a)) {
    for (const optimizer o : {optimizer::sgd, optimizer::adam}) {
      std::string name = fmt::format("map_{}_{}_{}", m.at.problem, m.at.steps,
                                     o == optimizer::sgd ? "sgd" : "adam");
      std::replace(name.begin(), name.end(), ' ', '_');
      all.push_back(heat_maps(t, a, m, o, name));
    }
  }
  all.push_back(sizes(t, a, chosen, map_setups(a).front().at));
  all.push_back(energies(e, a));
  return all;
}

}  // namespace studies::map
