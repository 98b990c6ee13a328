#include "curves.hpp"

#include <array>
#include <sstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "apps/console/gnuplot.hpp"

namespace apps::finetune {

std::string draw_curves(const std::filesystem::path& folder, const std::string& log) {
  std::string losses;
  std::string held_out;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json step = nlohmann::json::parse(line);
    if (step.at("phase") != "training") {
      continue;
    }
    const auto number = step.at("step").get<long>();
    losses += fmt::format("{} {}\n", number, console::number(step.at("loss").get<double>()));
    if (step.contains("eval_loss") && step["eval_loss"].is_number()) {
      held_out += fmt::format("{} {}\n", number, console::number(step["eval_loss"].get<double>()));
    }
  }
  std::string panel =
      "  set xlabel 'step'\n  set ylabel 'loss'\n  set key top right\n"
      "  plot 'loss.dat' index 0 with lines linewidth 1.5 linecolor rgb '#4477aa' title 'training'";
  if (!held_out.empty()) {
    panel +=
        ", '' index 1 with linespoints pointtype 7 pointsize 0.5 linewidth 2 linecolor rgb "
        "'#cc3311' title 'held out'";
  }
  const std::array pictures = {
      console::picture{"loss",
                       console::script("loss", "Loss", {.width = 720, .height = 440, .left = 80},
                                       {panel + "\n"}, "preheat-finetune"),
                       losses + (held_out.empty() ? "" : "\n\n" + held_out)}};
  return console::draw_pictures(folder, pictures);
}

}  // namespace apps::finetune
