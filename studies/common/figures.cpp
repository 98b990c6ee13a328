#include "figures.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "apps/console/text_table.hpp"

namespace studies::common {

using namespace apps::console;

picture accuracy_figure(const std::string& name, const std::string& title,
                        const std::string& program,
                        std::span<const figure_panel<accuracy_point>> panels) {
  std::string data = "# place name accuracy low high colour point\n";
  std::vector<std::string> commands;
  int most_rows = 1;
  for (std::size_t k = 0; k < panels.size(); ++k) {
    data += fmt::format("# {}\n", panels[k].title);
    int place = 0;
    double lowest = 0.9;
    for (const accuracy_point& p : panels[k].items) {
      const double half = std::isfinite(p.accuracy.half) ? p.accuracy.half : 0;
      data += fmt::format("{} \"{}\" {} {} {} 0x{} {}\n", --place, p.name, number(p.accuracy.mean),
                          number(p.accuracy.mean - half), number(p.accuracy.mean + half),
                          p.look.colour.substr(1), p.look.point);
      if (std::isfinite(p.accuracy.mean)) {
        lowest = std::min(lowest, p.accuracy.mean - std::min(half, 0.1));
      }
    }
    if (place == 0) {
      data += "-1 \"\" NaN NaN NaN 0x000000 7\n";
    }
    data += "\n\n";
    most_rows = std::max(most_rows, -place);
    const std::string tics = k == 0 ? "  set ytics noenhanced scale 0\n"
                                    : "  set ytics 1 scale 0\n  set format y \"\"\n";
    commands.push_back(
        panel_title(panels[k].title) + tics +
        fmt::format("  set xrange [{0}:1]\n  set yrange [{1}.5:-0.5]\n  set xtics {2}\n"
                    "  set format x \"%g\"\n  set xlabel \"test accuracy\" offset 0,0.3\n"
                    "  plot \"{3}.dat\" index {4} using 3:1:4:5:6{5} with xerrorbars "
                    "pointtype 0 linewidth 1.7 linecolor rgb variable notitle, \\\n"
                    "       \"{3}.dat\" index {4} using 3:1:7:6 with points "
                    "pointtype variable pointsize 0.8 linecolor rgb variable notitle\n",
                    fixed(std::floor(lowest * 20) / 20, 2), std::min(place, -1),
                    lowest < 0.7 ? 0.1 : 0.05, name, k, k == 0 ? ":ytic(2)" : ""));
  }
  const layout l{.width = 230 + 330 * int(panels.size()),
                 .height = 150 + 22 * most_rows,
                 .left = 218,
                 .legend = 0,
                 .panels = panels.size()};
  return {name, script(name, title, l, commands, program), data};
}

static std::string draw(const line_style& look, const line_figure_settings& settings) {
  const std::string point =
      settings.with_points ? fmt::format(" pointtype {} pointsize 0.7", look.point) : std::string();
  if (!settings.joined) {
    return fmt::format("with points linecolor rgb \"{}\"{}", look.colour, point);
  }
  return fmt::format("with {} linewidth 1.7 dashtype {} linecolor rgb \"{}\"{}",
                     settings.with_points ? "linespoints" : "lines", look.dash, look.colour, point);
}

picture line_figure(const line_figure_settings& settings, std::span<const std::string> legend,
                    std::span<const figure_panel<figure_line>> panels) {
  constexpr const char* nothing = "  set xrange [0.1:1]\n  set yrange [0.1:1]\n  plot NaN notitle";
  std::string data;
  std::vector<std::string> commands;
  std::map<std::string, line_style> drawn;
  int index = 0;
  for (const figure_panel<figure_line>& panel : panels) {
    std::string plots;
    for (const figure_line& line : panel.items) {
      if (line.points.empty()) {
        continue;
      }
      data += fmt::format("# {}: {}\n{}\n\n", panel.title, line.name, line.points);
      const std::string file = fmt::format("\"{}.dat\" index {} using", settings.name, index++);
      const auto plot = [&](const std::string& what) {
        plots += (plots.empty() ? "  plot " : ", \\\n       ") + file + what;
      };
      if (settings.with_intervals) {  // under the points
        plot(fmt::format(
            " 1:2:3 with yerrorbars pointtype 0 linewidth 1 linecolor rgb \"{}\" notitle",
            line.look.colour));
      }
      plot(fmt::format(" 1:2 {} notitle", draw(line.look, settings)));
      drawn.emplace(line.name, line.look);
    }
    commands.push_back(panel_title(panel.title) + settings.axes +
                       (commands.empty() ? "" : "  unset ylabel\n") +
                       (plots.empty() ? nothing : plots) + "\n");
  }
  // The legend: a panel of its own without axes, in the room at the right.
  std::string keys;
  std::size_t longest = 0;
  for (const std::string& name : legend) {
    const auto line = drawn.find(name);
    if (line != drawn.end()) {
      keys += fmt::format("{} NaN {} title {}", keys.empty() ? "  plot" : ", \\\n      ",
                          draw(line->second, settings), gnuplot_text(name));
      longest = std::max(longest, display_width(name));
    }
  }
  constexpr int sample_width = 64;  // in pixels
  constexpr int letter_width = 8;
  const int legend_width = std::max(240, sample_width + letter_width * int(longest));
  const layout l{
      .width = (settings.with_intervals ? 92 : 80) + 330 * int(panels.size()) + legend_width,
      .height = std::max(420, 110 + 22 * int(drawn.size())),
      .left = settings.with_intervals ? 84 : 72,
      .legend = legend_width,
      .panels = panels.size()};
  if (!keys.empty()) {
    commands.back() += fmt::format(
        "  unset title\n  unset xlabel\n  unset ylabel\n  unset tics\n  unset border\n"
        "  unset logscale\n  unset xzeroaxis\n  unset yzeroaxis\n"
        "  set xrange [0:1]\n  set yrange [0:1]\n"
        "  set lmargin at screen {0:.5f}\n  set rmargin at screen 0.99\n"
        "  set key at screen {0:.5f},{1:.5f} left top Left reverse samplen 3 spacing 1.15\n{2}\n",
        1 - (legend_width - 8.0) / l.width, 1 - 70.0 / l.height, keys);
  }
  return {settings.name, script(settings.name, settings.title, l, commands, settings.program),
          data};
}

std::string mean_curve(const run_group& runs, double rate,
                       std::vector<curve_point> run_outcome::*curve) {
  std::map<int, std::vector<double>> losses;
  for (const run_record* r : runs) {
    if (r->rate == rate) {
      for (const curve_point& p : r->*curve) {
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

std::string mean_by_rate(const run_group& runs,
                         const std::function<double(const run_record&)>& number_of) {
  std::map<double, std::vector<double>> by_rate;
  for (const run_record* r : runs) {
    by_rate[r->rate].push_back(number_of(*r));
  }
  std::string text;
  for (const auto& [rate, values] : by_rate) {
    text += fmt::format("{} {}\n", number(rate), number(mean(values)));
  }
  return text;
}

}  // namespace studies::common
