#include "report.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
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
  if (power == 0) {
    return starts.front().tuned;
  }
  return preheat::suggest_rate(
      {.rate = starts.front().tuned, .curvature = starts.front().curvature}, s.curvature, power);
}

constexpr std::array colours = {"#08519c", "#d7191c", "#1b7837", "#e08e45"};

// The problems, or the methods, in the order of their first rows.
std::vector<std::string> names_in(const std::vector<rate_at_rank>& rows,
                                  std::string rate_at_rank::*name) {
  std::vector<std::string> names;
  for (const rate_at_rank& r : rows) {
    if (std::find(names.begin(), names.end(), r.*name) == names.end()) {
      names.push_back(r.*name);
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
    rate_at_rank row{.problem = runs.front()->shift,
                     .method = runs.front()->name,
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

prediction same_rate(const std::vector<rate_of_start>& starts) {
  return predict(starts, 0);
}

std::string rank_table(const std::vector<rate_at_rank>& rows) {
  apps::console::table t({{"problem", align::left},
                          {"method", align::left},
                          {"rank"},
                          {"best rate"},
                          {"validation loss"},
                          {"with the least rank's rate"},
                          {"test accuracy"}});
  for (const rate_at_rank& r : rows) {
    t.add({r.problem, r.method, std::to_string(r.rank),
           number(r.best.rate) + (r.best.at_edge ? "*" : ""),
           fmt::format("{:.3f}", r.best.validation_loss),
           r.with_first_rate ? fmt::format("{:.3f}", *r.with_first_rate) : "–",
           fmt::format("{:.3f}", r.test_accuracy)});
  }
  return t.to_string();
}

std::string start_table(const std::vector<rate_of_start>& starts,
                        const std::vector<prediction>& by_power) {
  std::vector<apps::console::column> columns{
      {"start", align::left}, {"curvature"}, {"smallest"}, {"tuned rate"}};
  for (const prediction& p : by_power) {
    columns.push_back({fmt::format("predicted, power {}", number(p.power))});
  }
  apps::console::table t(std::move(columns));
  for (const rate_of_start& s : starts) {
    std::vector<std::string> row{s.name, fmt::format("{:.3g}", s.curvature),
                                 fmt::format("{:.3g}", s.smallest),
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
      "problem,method,rank,rate,rate_at_edge,validation_loss,loss_with_least_ranks_rate,test_"
      "accuracy\n";
  for (const rate_at_rank& r : rows) {
    text += fmt::format("{},\"{}\",{},{},{},{},{},{}\n", r.problem, r.method, r.rank,
                        number(r.best.rate), int(r.best.at_edge),
                        fmt::format("{:.4f}", r.best.validation_loss),
                        r.with_first_rate ? fmt::format("{:.4f}", *r.with_first_rate) : "",
                        fmt::format("{:.4f}", r.test_accuracy));
  }
  return text;
}

std::string start_csv(const std::vector<rate_of_start>& starts) {
  std::string text =
      "start,name,curvature,smallest_eigenvalue,tuned_rate,rate_at_edge,predicted_rate\n";
  for (const rate_of_start& s : starts) {
    text += fmt::format("{},\"{}\",{:.4g},{:.4g},{},{},{:.4g}\n", s.id, s.name, s.curvature,
                        s.smallest, number(s.tuned), int(s.at_edge), predicted_rate(starts, s, 1));
  }
  return text;
}

apps::console::picture rank_picture(const std::vector<rate_at_rank>& rows) {
  std::string data = "# rank, best rate, its loss, the loss with the least rank's rate\n";
  const std::vector<std::string> names = names_in(rows, &rate_at_rank::method);
  const std::string axes =
      "  set logscale xy\n  set yrange [*:*]\n  set xrange [3:85]\n"
      "  set xtics (4, 8, 16, 32, 64)\n  set xlabel 'rank'\n";
  std::vector<std::string> panels;
  int index = 0;
  const std::vector<std::string> problems = names_in(rows, &rate_at_rank::problem);
  for (const std::string& problem : problems) {
    std::string rates, losses;
    double least = std::numeric_limits<double>::infinity(), most = 0;
    for (std::size_t k = 0; k < names.size(); ++k) {
      std::string points;
      for (const rate_at_rank& r : rows) {
        if (r.problem == problem && r.method == names[k]) {
          least = std::min(least, r.best.validation_loss);
          most = std::max({most, r.best.validation_loss, r.with_first_rate.value_or(0)});
          points += fmt::format("{} {} {} {}\n", r.rank, number(r.best.rate),
                                number(r.best.validation_loss),
                                number(r.with_first_rate.value_or(common::not_a_number)));
        }
      }
      if (points.empty()) {
        continue;
      }
      data += "# " + problem + ", " + names[k] + "\n" + points + "\n\n";
      const auto add = [&](std::string& to, int column, int dash, const std::string& title) {
        to += fmt::format(
            "{}'rates_by_rank.dat' index {} using 1:{} with linespoints linewidth 2 pointtype 7 "
            "dashtype {} linecolor rgb \"{}\" {}",
            to.empty() ? "" : ", \\\n       ", index, column, dash, colours[k % colours.size()],
            title.empty() ? "notitle" : "title " + gnuplot_text(title));
      };
      add(rates, 2, 1, "");
      add(losses, 3, 1, names[k]);
      add(losses, 4, 2, names[k] + ", the least rank's rate");
      ++index;
    }
    const std::string key =
        problem == problems.back() ? "  set key outside right top\n" : "  unset key\n";
    panels.push_back(axes + apps::console::panel_title("best rate, " + problem) +
                     "  unset key\n  plot " + rates + "\n");
    // A logarithmic axis of losses that hardly differ would be flat, and without marks.
    const double room = 0.1 * std::max(most - least, 0.1 * least);
    const std::string losses_axis =
        most < 3 * least
            ? fmt::format("  unset logscale y\n  set yrange [{}:{}]\n", least - room, most + room)
            : "";
    panels.push_back(axes + losses_axis +
                     apps::console::panel_title("validation loss, " + problem) + key + "  plot " +
                     losses + "\n");
  }
  const apps::console::layout layout{.width = 330 + 385 * int(panels.size()),
                                     .height = 400,
                                     .left = 70,
                                     .legend = 310,
                                     .panels = panels.size()};
  return {"rates_by_rank",
          apps::console::script("rates_by_rank", "Best rate against rank", layout, panels,
                                "preheat-rates"),
          data};
}

apps::console::picture start_picture(const std::vector<rate_of_start>& starts, double power) {
  std::vector<const rate_of_start*> sorted;
  for (const rate_of_start& s : starts) {
    sorted.push_back(&s);
  }
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto* a, const auto* b) { return a->curvature > b->curvature; });
  std::string data = "# place, predicted, tuned, name\n";
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    data += fmt::format("{} {:.4g} {} \"{}\"\n", i, predicted_rate(starts, *sorted[i], power),
                        number(sorted[i]->tuned), sorted[i]->name);
  }
  const std::string panel = fmt::format(
      "  set logscale x\n  set format x '10^{{%T}}'\n  set yrange [-0.7:{}.7]\n"
      "  set xlabel 'learning rate'\n  set key outside right top\n"
      "  plot 'rates_by_curvature.dat' using 2:1 with points pointtype 6 pointsize 1.1 linewidth 2 "
      "linecolor rgb \"{}\" title 'predicted', \\\n"
      "       '' using 3:1:yticlabels(4) with points pointtype 7 linecolor rgb \"{}\" title "
      "'tuned'\n",
      starts.size() - 1, colours[1], colours[0]);
  const apps::console::layout layout{.width = 860, .height = 520, .left = 210, .legend = 120};
  return {
      "rates_by_curvature",
      apps::console::script(
          "rates_by_curvature",
          fmt::format("Rate by the curvature of the start, power {}, and as tuned", number(power)),
          layout, {panel}, "preheat-rates"),
      data};
}

}  // namespace studies::rates
