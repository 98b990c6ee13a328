#include "plot.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <stdexcept>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "../console/gnuplot.hpp"
#include "table.hpp"

namespace comparison {
namespace {

// ------------------------------------------------------------------------------------------ styles

// Shades of one hue a family, told apart by point shape too. A method at equal row norms looks like
// itself without, but dashed and hollow.
constexpr std::array reference_colours = {"#7f7f7f", "#000000"};
constexpr std::array random_colours = {"#08519c", "#17a2d8", "#6b8cff"};
constexpr std::array weight_colours = {"#1b7837", "#7fbf7b"};
constexpr std::array preheated_colours = {"#d7191c", "#fd8d3c", "#e7298a", "#8c2d04"};
constexpr std::array one_factor_colours = {"#54278f", "#9e9ac8", "#a6761d", "#e6ab02"};
constexpr std::array chained_colours = {"#006d6f", "#20b2aa", "#66a5a0", "#0b3d3e", "#00a36c"};
constexpr std::array optimized_colours = {"#556b2f", "#808000", "#9acd32", "#bdb76b", "#3d3a00"};
constexpr std::array structured_colours = {"#5c4033", "#a0522d", "#c19a6b", "#e08e45"};

std::span<const char* const> colours(family f) {
  switch (f) {
    case family::reference:
      return reference_colours;
    case family::random:
      return random_colours;
    case family::weight:
      return weight_colours;
    case family::preheated:
      return preheated_colours;
    case family::one_factor:
      return one_factor_colours;
    case family::chained:
      return chained_colours;
    case family::optimized:
      return optimized_colours;
    case family::structured:
      break;
  }
  return structured_colours;
}

struct style {
  std::string colour;
  int point = 7;
  int dash = 1;
};

std::map<std::string, style> choose_styles(std::span<const method_entry> methods) {
  constexpr std::array filled_points = {7, 5, 9, 11};  // gnuplot's; one less is the same, hollow
  std::map<std::pair<family, bool>, std::size_t> used;
  std::map<std::string, style> styles;
  for (const method_entry& m : methods) {
    const std::size_t number = used[{m.kind, m.equal_norm}]++;
    const auto palette = colours(m.kind);
    const int point = filled_points[number % filled_points.size()];
    styles[m.id] = {palette[number % palette.size()], m.equal_norm ? point - 1 : point,
                    m.equal_norm ? 2 : 1};
  }
  return styles;
}

// ----------------------------------------------------------------------------- the three of them

// A point and an interval a method, at its chosen rate; what was not adapted is left out. The axis
// ends at 1 and shows all means; intervals that are wider are cut.
picture accuracy_picture(const std::string& name, const std::map<std::string, style>& styles,
                         std::span<const plotted_shift> shifts) {
  std::string data = "# place name accuracy low high colour point\n";
  std::vector<std::string> panels;
  int most_rows = 1;
  for (std::size_t k = 0; k < shifts.size(); ++k) {
    data += fmt::format("# {}\n", shifts[k].title);
    int place = 0;
    double lowest = 0.9;
    for (const plotted_group& g : shifts[k].groups) {
      if (!g.method->has_rate) {
        continue;
      }
      const estimate& accuracy = g.summary.test_accuracy;
      const double half = std::isfinite(accuracy.half) ? accuracy.half : 0;
      const style& look = styles.at(g.method->id);
      data += fmt::format("{} \"{}\" {} {} {} 0x{} {}\n", --place, g.method->name,
                          number(accuracy.mean), number(accuracy.mean - half),
                          number(accuracy.mean + half), look.colour.substr(1), look.point);
      if (std::isfinite(accuracy.mean)) {
        lowest = std::min(lowest, accuracy.mean - std::min(half, 0.1));
      }
    }
    if (place == 0) {
      data += "-1 \"\" NaN NaN NaN 0x000000 7\n";
    }
    data += "\n\n";
    most_rows = std::max(most_rows, -place);
    const std::string tics = k == 0 ? "  set ytics noenhanced scale 0\n"
                                    : "  set ytics 1 scale 0\n  set format y \"\"\n";
    panels.push_back(
        panel_title(shifts[k].title) + tics +
        fmt::format("  set xrange [{0}:1]\n  set yrange [{1}.5:-0.5]\n  set xtics {2}\n"
                    "  set format x \"%g\"\n  set xlabel \"test accuracy\" offset 0,0.3\n"
                    "  plot \"{3}.dat\" index {4} using 3:1:4:5:6{5} with xerrorbars "
                    "pointtype 0 linewidth 1.7 linecolor rgb variable notitle, \\\n"
                    "       \"{3}.dat\" index {4} using 3:1:7:6 with points "
                    "pointtype variable pointsize 0.8 linecolor rgb variable notitle\n",
                    fixed(std::floor(lowest * 20) / 20, 2), std::min(place, -1),
                    lowest < 0.7 ? 0.1 : 0.05, name, k, k == 0 ? ":ytic(2)" : ""));
  }
  const layout l{.width = 230 + 330 * int(shifts.size()),
                 .height = 150 + 22 * most_rows,
                 .left = 218,
                 .legend = 0,
                 .panels = shifts.size()};
  return {name,
          script(name,
                 "Test accuracy at the rate chosen on validation data, mean and 95 % interval over "
                 "pretrained bases",
                 l, panels, "preheat_compare"),
          data};
}

std::string draw(const style& look, bool with_points) {
  return fmt::format(
      "with {} linewidth 1.7 dashtype {} linecolor rgb \"{}\"{}",
      with_points ? "linespoints" : "lines", look.dash, look.colour,
      with_points ? fmt::format(" pointtype {} pointsize 0.7", look.point) : std::string());
}

// One line a method in every panel. lines(group) gives its points as text; a method without points
// in a panel is left out there. The legend is drawn once, for all methods that are anywhere.
template <class Lines>
picture line_picture(const std::string& name, const std::string& title, const std::string& axes,
                     std::span<const method_entry> methods,
                     const std::map<std::string, style>& styles, bool with_points,
                     std::span<const plotted_shift> shifts, Lines lines) {
  constexpr const char* nothing = "  set xrange [0.1:1]\n  set yrange [0.1:1]\n  plot NaN notitle";
  std::string data;
  std::vector<std::string> panels;
  std::set<std::string> drawn;
  int index = 0;
  for (const plotted_shift& s : shifts) {
    std::string plots;
    for (const plotted_group& g : s.groups) {
      const std::string points = lines(g);
      if (points.empty()) {
        continue;
      }
      const style& look = styles.at(g.method->id);
      data += fmt::format("# {}: {}\n{}\n\n", s.title, g.method->name, points);
      plots += fmt::format("{} \"{}.dat\" index {} using 1:2 {} notitle",
                           plots.empty() ? "  plot" : ", \\\n      ", name, index++,
                           draw(look, with_points));
      drawn.insert(g.method->id);
    }
    panels.push_back(panel_title(s.title) + axes + (panels.empty() ? "" : "  unset ylabel\n") +
                     (plots.empty() ? nothing : plots) + "\n");
  }
  // The legend: a panel of its own without axes, in the room at the right.
  std::string keys;
  for (const method_entry& m : methods) {
    if (drawn.contains(m.id)) {
      const style& look = styles.at(m.id);
      keys += fmt::format("{} NaN {} title {}", keys.empty() ? "  plot" : ", \\\n      ",
                          draw(look, with_points), gnuplot_text(m.name));
    }
  }
  const layout l{.width = 80 + 330 * int(shifts.size()) + 240,
                 .height = std::max(420, 110 + 22 * int(drawn.size())),
                 .left = 72,
                 .legend = 240,
                 .panels = shifts.size()};
  if (!keys.empty()) {
    panels.back() += fmt::format(
        "  unset title\n  unset xlabel\n  unset ylabel\n  unset tics\n  unset border\n"
        "  unset logscale\n  set xrange [0:1]\n  set yrange [0:1]\n"
        "  set lmargin at screen {0:.5f}\n  set rmargin at screen 0.99\n"
        "  set key at screen {0:.5f},{1:.5f} left top Left reverse samplen 3 spacing 1.15\n{2}\n",
        1 - 232.0 / l.width, 1 - 70.0 / l.height, keys);
  }
  return {name, script(name, title, l, panels, "preheat_compare"), data};
}

// The validation loss during training, mean over bases and seeds at the chosen rate.
std::string curve_points(const plotted_group& g) {
  std::map<int, std::vector<double>> losses;
  for (const run_record* r : g.runs) {
    if (r->rate == g.summary.rate) {
      for (const curve_point& p : r->curve) {
        losses[p.step].push_back(p.loss);
      }
    }
  }
  std::string text;
  for (const auto& [step, values] : losses) {
    text += fmt::format("{} {}\n", step, number(mean(values)));
  }
  return text;
}

// The mean test accuracy at every rate that was tried. Runs that failed leave a gap.
std::string rate_points(const plotted_group& g) {
  if (!g.method->has_rate) {
    return {};
  }
  std::map<double, std::vector<double>> accuracies;
  for (const run_record* r : g.runs) {
    accuracies[r->rate].push_back(r->test_accuracy);
  }
  std::string text;
  for (const auto& [rate, values] : accuracies) {
    text += fmt::format("{} {}\n", number(rate), number(mean(values)));
  }
  return text;
}

// Two groups of methods, so that a picture has no more lines than eyes can follow: the inits, and
// the published systems beside LoRA and HRP.
bool is_system(const method_entry& m) {
  return m.kind == family::chained || m.kind == family::optimized || m.kind == family::structured;
}
bool in_systems_picture(const method_entry& m) {
  return is_system(m) || m.id == "full" || m.id == "lora" || m.id == "hrp";
}
std::vector<plotted_shift> only(std::span<const plotted_shift> shifts,
                                bool (*wanted)(const method_entry&)) {
  std::vector<plotted_shift> chosen;
  for (const plotted_shift& s : shifts) {
    plotted_shift& one = chosen.emplace_back();
    one.title = s.title;
    for (const plotted_group& g : s.groups) {
      if (wanted(*g.method)) {
        one.groups.push_back(g);
      }
    }
  }
  return chosen;
}

}  // namespace

std::string write_plots(const std::filesystem::path& directory, const std::string& suffix,
                        std::span<const method_entry> methods,
                        std::span<const plotted_shift> shifts) {
  const std::map<std::string, style> styles = choose_styles(methods);
  std::vector<picture> pictures = {accuracy_picture("accuracy" + suffix, styles, shifts)};
  const auto add_lines = [&](const std::string& group, bool (*wanted)(const method_entry&)) {
    const std::vector<plotted_shift> some = only(shifts, wanted);
    if (std::all_of(some.begin(), some.end(), [](const auto& s) { return s.groups.empty(); })) {
      return;
    }
    pictures.push_back(line_picture(
        "curves" + group + suffix,
        "Validation loss during training at the chosen rate, mean over bases",
        "  set logscale y\n  set yrange [*:4]\n"
        "  set ytics (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 4)\n  set xrange [0:*] noextend\n"
        "  set xlabel \"training steps, preheating included\" offset 0,0.3\n"
        "  set ylabel \"validation loss\"\n",
        methods, styles, false, some, curve_points));
    pictures.push_back(line_picture(
        "rates" + group + suffix, "Test accuracy against learning rate, mean over bases",
        "  set logscale x\n  set xrange [*:*] noextend\n  set format x \"%g\"\n"
        "  set xtics (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)\n"
        "  set yrange [*:1]\n  set xlabel \"learning rate\" offset 0,0.3\n"
        "  set ylabel \"test accuracy\"\n",
        methods, styles, true, some, rate_points));
  };
  add_lines("", [](const method_entry& m) { return !is_system(m); });
  add_lines("-systems", in_systems_picture);

  return draw_pictures(directory, pictures);
}

}  // namespace comparison
