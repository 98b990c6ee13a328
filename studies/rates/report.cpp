#include "report.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <preheat/train/curvature.hpp>

#include "apps/console/text_table.hpp"

namespace studies::rates {

using apps::console::align;
using apps::console::gnuplot_text;
using apps::console::number;

namespace {

double predicted_rate(const std::vector<rate_of_start>& starts, const rate_of_start& s,
                      double power) {
  return preheat::suggest_rate(
      {.rate = starts.front().tuned, .curvature = starts.front().curvature}, s.curvature, power);
}

constexpr std::array colours = {"#08519c", "#d7191c", "#1b7837", "#e08e45"};

// The names of the methods, in the order of their first rows.
std::vector<std::string> methods_of(const std::vector<rate_at_rank>& rows) {
  std::vector<std::string> names;
  for (const rate_at_rank& r : rows) {
    if (std::find(names.begin(), names.end(), r.method) == names.end()) {
      names.push_back(r.method);
    }
  }
  return names;
}

}  // namespace

std::vector<rate_at_rank> rates_by_rank(const std::vector<common::run_group>& groups) {
  std::vector<rate_at_rank> rows;
  for (const common::run_group& runs : groups) {
    const std::optional<common::rate_choice> best = common::choose_rate(runs);
    if (!best) {
      continue;
    }
    const auto accuracy = [](const common::run_record& r) { return r.test_accuracy; };
    rate_at_rank row{.method = runs.front()->name,
                     .rank = runs.front()->rank,
                     .best = *best,
                     .test_accuracy = common::mean(
                         common::values_of(common::by_base(runs, best->rate, accuracy))),
                     .with_first_rate = {}};
    const std::map<double, double> losses = common::validation_by_rate(runs);
    const auto first = losses.find(rows.empty() ? best->rate : rows.front().best.rate);
    if (first != losses.end()) {
      row.with_first_rate = first->second;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

prediction predict(const std::vector<rate_of_start>& starts, double power) {
  prediction p;
  p.power = power;
  std::vector<double> inverse, tuned;
  double sum = 0;
  for (const rate_of_start& s : starts) {
    inverse.push_back(1 / s.curvature);
    tuned.push_back(s.tuned);
    const double error = std::abs(std::log(predicted_rate(starts, s, power) / s.tuned));
    sum += error;
    if (std::exp(error) > p.worst_factor) {
      p.worst_factor = std::exp(error);
      p.worst = s.name;
    }
  }
  p.rank_correlation = common::rank_correlation(inverse, tuned);
  p.mean_factor = std::exp(sum / double(std::max<std::size_t>(starts.size() - 1, 1)));
  return p;
}

std::string rank_table(const std::vector<rate_at_rank>& rows) {
  apps::console::table t({{"method", align::left},
                          {"rank"},
                          {"best rate"},
                          {"validation loss"},
                          {"with the least rank's rate"},
                          {"test accuracy"}});
  for (const rate_at_rank& r : rows) {
    t.add({r.method, std::to_string(r.rank), number(r.best.rate) + (r.best.at_edge ? "*" : ""),
           fmt::format("{:.3f}", r.best.validation_loss),
           r.with_first_rate ? fmt::format("{:.3f}", *r.with_first_rate) : "–",
           fmt::format("{:.3f}", r.test_accuracy)});
  }
  return t.to_string();
}

std::string start_table(const std::vector<rate_of_start>& starts,
                        const std::vector<prediction>& by_power) {
  std::vector<apps::console::column> columns{{"start", align::left}, {"curvature"}, {"tuned rate"}};
  for (const prediction& p : by_power) {
    columns.push_back({fmt::format("predicted, power {}", number(p.power))});
  }
  apps::console::table t(std::move(columns));
  for (const rate_of_start& s : starts) {
    std::vector<std::string> row{s.name, fmt::format("{:.3g}", s.curvature),
                                 number(s.tuned) + (s.at_edge ? "*" : "")};
    for (const prediction& p : by_power) {
      row.push_back(fmt::format("{:.2g}", predicted_rate(starts, s, p.power)));
    }
    t.add(std::move(row));
  }
  std::string text = t.to_string();
  for (const prediction& p : by_power) {
    text += fmt::format(
        "power {}: rank correlation {:.2f}; wrong by a factor of {:.2f} on average (geometric), "
        "{:.1f} at most ({})\n",
        number(p.power), p.rank_correlation, p.mean_factor, p.worst_factor, p.worst);
  }
  return text;
}

std::string rank_csv(const std::vector<rate_at_rank>& rows) {
  std::string text =
      "method,rank,rate,rate_at_edge,validation_loss,loss_with_least_ranks_rate,test_accuracy\n";
  for (const rate_at_rank& r : rows) {
    text += fmt::format("\"{}\",{},{},{},{},{},{}\n", r.method, r.rank, number(r.best.rate),
                        int(r.best.at_edge), number(r.best.validation_loss),
                        r.with_first_rate ? number(*r.with_first_rate) : std::string(),
                        number(r.test_accuracy));
  }
  return text;
}

std::string start_csv(const std::vector<rate_of_start>& starts) {
  std::string text = "start,name,curvature,tuned_rate,rate_at_edge,predicted_rate\n";
  for (const rate_of_start& s : starts) {
    text += fmt::format("{},\"{}\",{},{},{},{}\n", s.id, s.name, number(s.curvature),
                        number(s.tuned), int(s.at_edge), number(predicted_rate(starts, s, 1)));
  }
  return text;
}

apps::console::picture rank_picture(const std::vector<rate_at_rank>& rows) {
  std::string data = "# rank rate\n", plots;
  const std::vector<std::string> names = methods_of(rows);
  for (std::size_t k = 0; k < names.size(); ++k) {
    data += "# " + names[k] + "\n";
    for (const rate_at_rank& r : rows) {
      data += r.method == names[k] ? fmt::format("{} {}\n", r.rank, number(r.best.rate)) : "";
    }
    data += "\n\n";
    plots += fmt::format(
        "{}'rates_by_rank.dat' index {} using 1:2 with linespoints linewidth 2 pointtype 7 "
        "linecolor rgb \"{}\" title {}",
        k == 0 ? "" : ", \\\n       ", k, colours[k % colours.size()], gnuplot_text(names[k]));
  }
  const std::string panel =
      "  set key outside right top\n  set logscale xy\n  set xtics (4, 8, 16, 32, 64)\n"
      "  set xlabel 'rank'\n  set ylabel 'best learning rate'\n  plot " +
      plots + "\n";
  const apps::console::layout layout{.width = 760, .height = 400, .left = 90, .legend = 190};
  return {"rates_by_rank",
          apps::console::script("rates_by_rank", "Best rate against rank, digits", layout, {panel},
                                "preheat-rates"),
          data};
}

apps::console::picture start_picture(const std::vector<rate_of_start>& starts, double power) {
  std::string data = "# predicted tuned name\n";
  for (const rate_of_start& s : starts) {
    data += fmt::format("{} {} \"{}\"\n", number(predicted_rate(starts, s, power)), number(s.tuned),
                        s.name);
  }
  const std::string panel =
      "  set logscale xy\n  set xlabel 'rate predicted by the curvature'\n"
      "  set ylabel 'tuned rate'\n"
      "  plot x linecolor rgb \"#555555\" notitle, x*3 dashtype 2 linecolor rgb \"#aaaaaa\" "
      "notitle, x/3 dashtype 2 linecolor rgb \"#aaaaaa\" notitle, \\\n"
      "       'rates_by_curvature.dat' using 1:2:3 with labels point pointtype 7 offset char "
      "0.6,0.5 "
      "left font ',10' noenhanced notitle\n";
  const apps::console::layout layout{.width = 760, .height = 520, .left = 90, .legend = 90};
  return {"rates_by_curvature",
          apps::console::script(
              "rates_by_curvature",
              fmt::format("Rate ∝ curvature^−{} against the tuned rate, digits", number(power)),
              layout, {panel}, "preheat-rates"),
          data};
}

}  // namespace studies::rates
