// A figure whose lines are those of methods.
#pragma once
#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "methods.hpp"
#include "studies/common/figures.hpp"
#include "studies/common/line_styles.hpp"

namespace studies::lm {

// Panels whose lines are those of methods, each with its style. The lines of a panel are moved aside a little,
// so that intervals can be seen, where `aside` is a factor above 1.
class method_figure {
 public:
  method_figure(const std::vector<method_entry>& known, common::line_figure_settings settings,
                double aside = 1)
      : styles_(common::choose_styles(known)), settings_(std::move(settings)), aside_(aside) {
    for (const method_entry& m : known) {
      names_[m.id] = m.name;
      legend_.push_back(m.name);
    }
  }
  void begin_panel(const std::string& title) {
    if (panels_.empty() || !panels_.back().items.empty()) {
      panels_.emplace_back();
    }
    panels_.back().title = title;
  }
  void add(const std::string& method, double x, const common::estimate& y) {
    if (!std::isfinite(x) || !std::isfinite(y.mean) || !names_.contains(method)) {
      return;
    }
    std::vector<common::figure_line>& lines = panels_.back().items;
    const std::string& name = names_[method];
    auto line = std::find_if(lines.begin(), lines.end(),
                             [&](const common::figure_line& l) { return l.name == name; });
    if (line == lines.end()) {
      lines.push_back({name, styles_[method], {}});
      line = lines.end() - 1;
    }
    line->points +=
        fmt::format("{} {} {}\n", apps::console::number(x * std::pow(aside_, line - lines.begin())),
                    apps::console::number(y.mean), apps::console::number(y.half));
  }
  // Nothing without a line.
  void draw(std::vector<apps::console::picture>& all) {
    if (!panels_.empty() && panels_.back().items.empty()) {
      panels_.pop_back();
    }
    if (!panels_.empty()) {
      all.push_back(common::line_figure(settings_, legend_, panels_));
    }
  }

 private:
  std::map<std::string, common::line_style> styles_;
  std::map<std::string, std::string> names_;
  std::vector<std::string> legend_;
  std::vector<common::figure_panel<common::figure_line>> panels_;
  common::line_figure_settings settings_;
  double aside_;
};

}  // namespace studies::lm
