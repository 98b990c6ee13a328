#include "figures.hpp"

#include <array>

#include <fmt/format.h>

namespace studies::theory {

namespace {

struct look {
  std::string figure, title, x, y;
  bool logarithmic = false;
};

const std::array looks = {
    look{"flow", "Loss along the gradient flow", "time t", "loss", true},
    look{"random", "Final loss of random starts", "loss", "share of the draws"},
    look{"rank_exponential", "HRP by preheating rank, σ = 0.7^i", "preheating rank R", "final loss",
         true},
    look{"rank_polynomial", "HRP by preheating rank, σ = 1/(i + 1)", "preheating rank R",
         "final loss", true},
    look{"rank_flat", "HRP by preheating rank, σ = 1", "preheating rank R", "final loss"},
    look{"time", "Classic preheating by its length, R = 4r", "preheating time",
         "final loss of the asymmetric run", true},
    look{"chain", "RAC-LoRA, every block solved", "blocks T", "loss", true},
};

constexpr std::array line_colours = {"#555555", "#1b7837", "#d7191c"};
constexpr std::array point_colours = {"#08519c", "#d7191c", "#e08e45"};

apps::console::picture picture_of(const look& l, const std::vector<const series*>& curves) {
  std::string data = "# x y error\n";
  std::string plots;
  std::size_t lines = 0;
  std::size_t points = 0;
  for (std::size_t k = 0; k < curves.size(); ++k) {
    const series& c = *curves[k];
    data += fmt::format("# {}\n", c.name);
    for (std::size_t i = 0; i < c.x.size(); ++i) {
      data +=
          fmt::format("{} {} {}\n", apps::console::number(c.x[i]), apps::console::number(c.y[i]),
                      apps::console::number(c.error.empty() ? 0 : c.error[i]));
    }
    data += "\n\n";
    const std::string style =
        c.line ? fmt::format("using 1:2 with lines linewidth 2 linecolor rgb \"{}\"",
                             line_colours[lines++ % line_colours.size()])
               : fmt::format(
                     "using 1:2:3 with yerrorbars pointtype 7 pointsize 0.6 linecolor rgb \"{}\"",
                     point_colours[points++ % point_colours.size()]);
    plots += fmt::format("{}\"{}.dat\" index {} {} title {}", k == 0 ? "" : ", \\\n       ",
                         l.figure, k, style, apps::console::gnuplot_text(c.name));
  }
  const std::string panel = fmt::format(
      "  set key outside right top\n  {}\n  set xlabel {} offset 0,0.3\n  set ylabel {}\n"
      "  plot {}\n",
      l.logarithmic ? "set logscale y" : "unset logscale y", apps::console::gnuplot_text(l.x),
      apps::console::gnuplot_text(l.y), plots);
  const apps::console::layout layout{
      .width = 940, .height = 420, .left = 90, .legend = 330, .panels = 1};
  return {l.figure, apps::console::script(l.figure, l.title, layout, {panel}, "preheat-theory"),
          data};
}

}  // namespace

std::string csv_of(const std::vector<series>& figures) {
  std::string text = "figure,curve,kind,x,y,error\n";
  for (const series& s : figures) {
    for (std::size_t i = 0; i < s.x.size(); ++i) {
      text +=
          fmt::format("{},\"{}\",{},{},{},{}\n", s.figure, s.name, s.line ? "theory" : "measured",
                      s.x[i], s.y[i], s.error.empty() ? 0 : s.error[i]);
    }
  }
  return text;
}

std::vector<apps::console::picture> pictures_of(const std::vector<series>& figures) {
  std::vector<apps::console::picture> pictures;
  for (const look& l : looks) {
    std::vector<const series*> curves;
    for (const series& s : figures) {
      if (s.figure == l.figure) {
        curves.push_back(&s);
      }
    }
    if (!curves.empty()) {
      pictures.push_back(picture_of(l, curves));
    }
  }
  return pictures;
}

}  // namespace studies::theory
