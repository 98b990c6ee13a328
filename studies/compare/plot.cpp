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

#include "studies/common/figures.hpp"

namespace studies::compare {
namespace {

// ------------------------------------------------------------------------------------------ styles

// Each family has shades of one hue and point shapes of its own. A method at equal row norms looks like
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

std::map<std::string, line_style> choose_styles(std::span<const method_entry> methods) {
  constexpr std::array filled_points = {7, 5, 9, 11};  // gnuplot's; one less is the same, hollow
  std::map<std::pair<family, bool>, std::size_t> used;
  std::map<std::string, line_style> styles;
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

// What was not adapted is left out.
picture accuracy_picture(const std::string& name, const std::map<std::string, line_style>& styles,
                         std::span<const plotted_shift> shifts) {
  std::vector<figure_panel<accuracy_point>> panels;
  for (const plotted_shift& s : shifts) {
    figure_panel<accuracy_point>& panel = panels.emplace_back();
    panel.title = s.title;
    for (const plotted_group& g : s.groups) {
      if (g.method->has_rate) {
        panel.items.push_back({g.method->name, styles.at(g.method->id), g.summary.test_accuracy});
      }
    }
  }
  return accuracy_figure(
      name,
      "Test accuracy at the rate chosen on validation data, mean and 95 % interval over pretrained "
      "bases",
      "preheat-compare", panels);
}

// One line per method in every panel. lines(group) gives its points as text.
template <class Lines>
picture line_picture(const line_figure_settings& settings, std::span<const method_entry> methods,
                     const std::map<std::string, line_style>& styles,
                     std::span<const plotted_shift> shifts, Lines lines) {
  std::vector<figure_panel<figure_line>> panels;
  for (const plotted_shift& s : shifts) {
    figure_panel<figure_line>& panel = panels.emplace_back();
    panel.title = s.title;
    for (const plotted_group& g : s.groups) {
      panel.items.push_back({g.method->name, styles.at(g.method->id), lines(g)});
    }
  }
  std::vector<std::string> legend;
  for (const method_entry& m : methods) {
    legend.push_back(m.name);
  }
  return line_figure(settings, legend, panels);
}

std::string curve_points(const plotted_group& g) {
  return mean_curve(g.runs, g.summary.rate, &run_outcome::curve);
}
std::string rate_points(const plotted_group& g) {
  if (!g.method->has_rate) {
    return {};
  }
  return mean_by_rate(g.runs, [](const run_record& r) { return r.test_accuracy; });
}

// Two groups of methods, so that a picture has no more lines than eyes can follow: the inits, and
// the published systems beside LoRA and HRP.
bool in_systems_picture(const method_entry& m) {
  return is_system(m.kind) || m.id == "full" || m.id == "lora" || m.id == "hrp";
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
  const std::map<std::string, line_style> styles = choose_styles(methods);
  std::vector<picture> pictures = {accuracy_picture("accuracy" + suffix, styles, shifts)};
  const auto add_lines = [&](const std::string& group, bool (*wanted)(const method_entry&)) {
    const std::vector<plotted_shift> some = only(shifts, wanted);
    if (std::all_of(some.begin(), some.end(), [](const auto& s) { return s.groups.empty(); })) {
      return;
    }
    pictures.push_back(line_picture(
        {.name = "curves" + group + suffix,
         .title = "Validation loss during training at the chosen rate, mean over bases",
         .program = "preheat-compare",
         .axes = "  set logscale y\n  set yrange [*:4]\n"
                 "  set ytics (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 4)\n  set xrange [0:*] noextend\n"
                 "  set xlabel \"training steps, preheating included\" offset 0,0.3\n"
                 "  set ylabel \"validation loss\"\n"},
        methods, styles, some, curve_points));
    pictures.push_back(line_picture(
        {.name = "rates" + group + suffix,
         .title = "Test accuracy against learning rate, mean over bases",
         .program = "preheat-compare",
         .axes = "  set logscale x\n  set xrange [*:*] noextend\n  set format x \"%g\"\n"
                 "  set xtics (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)\n"
                 "  set yrange [*:1]\n  set xlabel \"learning rate\" offset 0,0.3\n"
                 "  set ylabel \"test accuracy\"\n",
         .with_points = true},
        methods, styles, some, rate_points));
  };
  add_lines("", [](const method_entry& m) { return !is_system(m.kind); });
  add_lines("-systems", in_systems_picture);

  return draw_pictures(directory, pictures);
}

}  // namespace studies::compare
