#include "overview.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "markdown.hpp"
#include "report.hpp"

namespace studies::lm {
namespace {

bool is_reference(const start_runs& s) {
  return s.method.id == common::reference_method;
}

// What was computed, where, and for how long.
std::string card(const std::vector<condition>& conditions,
                 const std::vector<comparison>& compared) {
  std::set<const run_record*> runs;
  std::set<std::string> machines;
  std::set<int> seeds;
  for (const condition& c : conditions) {
    for (const start_runs& s : c.starts) {
      runs.insert(s.all.begin(), s.all.end());
    }
  }
  double seconds = 0;
  std::size_t broken = 0;
  for (const run_record* const r : runs) {
    seconds += std::isfinite(r->seconds) ? r->seconds : 0;
    broken += r->status != "completed";
    const std::size_t end = r->settings.find("; fingerprint");
    const std::size_t begin = end == std::string::npos ? end : r->settings.rfind("; ", end - 1);
    if (begin != std::string::npos) {
      machines.insert(r->settings.substr(begin + 2, end - begin - 2));
    }
  }
  for (const comparison& one : compared) {
    seeds.insert(one.who->summary.bases);
  }
  std::string text =
      fmt::format("{} runs in {} conditions, {:.1f} hours of computing; {} did not end",
                  runs.size(), conditions.size(), seconds / 3600, broken);
  if (!seeds.empty()) {
    const int least = *seeds.begin(), most = *seeds.rbegin();
    text +=
        fmt::format("; {} seeds at the rates that choose",
                    least == most ? std::to_string(most) : fmt::format("{} to {}", least, most));
  }
  text += ".\n\n";
  for (const std::string& machine : machines) {
    text += "- " + machine + "\n";
  }
  return text + "\n";
}

// A row a start, a column a condition. `cell` gives a text or nothing; a row or column of nothing is left out.
template <class Wanted, class Cell>
std::string over_conditions(const std::vector<condition>& conditions, const std::string& what,
                            const Wanted& wanted, const Cell& cell) {
  std::vector<std::pair<std::string, std::string>> rows;  // identifier and name
  std::map<std::pair<std::string, const condition*>, std::string> cells;
  std::vector<const condition*> columns;
  for (const condition& c : conditions) {
    bool any = false;
    for (const start_runs& s : c.starts) {
      const std::string text = wanted(s) ? cell(c, s) : std::string();
      if (text.empty()) {
        continue;
      }
      any = true;
      cells[{s.method.id, &c}] = text;
      const std::pair row(s.method.id, s.method.name);
      if (std::find(rows.begin(), rows.end(), row) == rows.end()) {
        rows.push_back(row);
      }
    }
    if (any) {
      columns.push_back(&c);
    }
  }
  std::vector<std::string> heads = {what};
  for (const condition* const c : columns) {
    heads.push_back(c->title());
  }
  markdown_table table(heads);
  for (const auto& [id, name] : rows) {
    std::vector<std::string> line = {name};
    for (const condition* const c : columns) {
      line.push_back(cells[{id, c}]);
    }
    table.add(line);
  }
  return table.to_string();
}

const comparison* find(const std::vector<comparison>& compared, const start_runs& s) {
  const auto it = std::find_if(compared.begin(), compared.end(),
                               [&](const comparison& one) { return one.who == &s; });
  return it == compared.end() ? nullptr : &*it;
}

std::string compared_cell(const std::vector<comparison>& compared, const start_runs& s) {
  const comparison* const one = find(compared, s);
  if (one == nullptr) {
    return {};
  }
  const std::string text = signed_cell(one->difference) + (s.summary.at_edge ? " *" : "");
  return one->remains() ? "**" + text + "**" : text;
}

std::string count_sentences(const std::vector<comparison>& compared) {
  std::size_t alone = 0, lower = 0;
  std::string remaining;
  std::size_t remain = 0, remain_lower = 0;
  for (const comparison& one : compared) {
    alone += one.excludes_zero();
    lower += one.excludes_zero() && one.difference.mean < 0;
    if (one.remains()) {
      ++remain;
      remain_lower += one.difference.mean < 0;
      remaining +=
          fmt::format("- {}: {} {} (p = {:.1g}, Holm's {:.1g})\n", one.where->title(),
                      one.who->method.name, signed_cell(one.difference), one.p, one.adjusted);
    }
  }
  return fmt::format(
      "{} comparisons with tuned Kaiming, of {} seeds or more. {} exclude 0 at 95 % one by one, {} "
      "of "
      "them lower; by chance {:.1f} would. With Holm's correction for all of them {} remain, {} of "
      "them lower (bold). *: at the largest or smallest rate that was tried.\n\n{}{}",
      compared.size(), least_compared_seeds, alone, lower, 0.05 * double(compared.size()), remain,
      remain_lower, remaining, remaining.empty() ? "" : "\n");
}

std::string room_table(const std::vector<condition>& conditions) {
  markdown_table table({"condition", "Kaiming's best rate", "full's", "Kaiming's eval loss",
                        "room under it: minus full's", "seeds"});
  for (const condition& c : conditions) {
    const estimate room = room_of(c);
    if (std::isfinite(room.mean)) {
      const start_runs& kaiming = *c.find(common::reference_method);
      const start_runs& all = *c.find(full_method);
      table.add({c.title(), common::rate_cell(kaiming.summary), common::rate_cell(all.summary),
                 apps::console::fixed(kaiming.summary.test_loss.mean, 3), signed_cell(room),
                 std::to_string(above_kaiming(c, all, test_loss_of).size())});
    }
  }
  return table.to_string();
}

// "+0.012 ± 0.020", or nothing for fewer than least_compared_seeds.
std::string difference_cell(const std::vector<double>& differences) {
  return differences.size() < least_compared_seeds
             ? std::string()
             : signed_cell(common::mean_with_interval(differences));
}

// The paired differences of two groups' validation losses at one rate.
std::vector<double> at_rate(const run_group& a, const run_group& b, double rate) {
  const auto other = common::by_base(b, rate, validation_loss_of);
  std::vector<double> differences;
  for (const auto& [base, value] : common::by_base(a, rate, validation_loss_of)) {
    const auto it = other.find(base);
    if (it != other.end()) {
      differences.push_back(value - it->second);
    }
  }
  return differences;
}

// At half of Kaiming's best rate, or the nearest rate that was tried, for both.
std::string small_rate_cell(const condition& c, const start_runs& s) {
  const start_runs* const kaiming = c.find(common::reference_method);
  if (kaiming == nullptr || kaiming->summary.failed || !s.method.has_rank || is_reference(s)) {
    return {};
  }
  const double wanted = kaiming->summary.rate / 2;
  for (const run_record* const r : kaiming->all) {
    if (std::abs(std::log(r->rate / wanted)) < 0.3) {
      return difference_cell(at_rate(s.all, kaiming->all, r->rate));
    }
  }
  return {};
}

// A variant less its method as it usually is, each at its best rate.
std::string variant_cell(const condition& c, const start_runs& s) {
  const start_runs* const own = c.usual_of(s);
  if (own == nullptr || s.summary.failed) {
    return {};
  }
  return difference_cell(common::paired_differences(s.chosen, own->chosen, test_loss_of));
}

std::string drift_sentences(const std::vector<condition>& conditions,
                            const std::vector<comparison>& compared) {
  std::string text;
  for (const condition& c : conditions) {
    std::vector<double> gains, drifts;
    for (const comparison& one : compared) {
      if (one.where == &c) {
        gains.push_back(one.difference.mean);
        drifts.push_back(common::mean(above_kaiming(c, *one.who, drift_of)));
      }
    }
    if (gains.size() >= 4) {
      text += fmt::format("- {}: over {} starts the rank correlation of loss and drift is {:.2f}\n",
                          c.title(), gains.size(), common::rank_correlation(gains, drifts));
    }
  }
  return text.empty() ? text : text + "\n";
}

std::string prediction_text(const std::vector<condition>& conditions) {
  markdown_table table({"condition", "start", "λ", "predicted rate", "tuned rate"});
  std::string sentences;
  for (const condition& c : conditions) {
    const std::vector<predicted_rate> rates = predicted_rates(c);
    std::vector<double> inverse, tuned;
    double logarithms = 0, same = 0;
    for (const predicted_rate& r : rates) {
      table.add({c.title(), r.who->method.name, fmt::format("{:.4g}", r.curvature),
                 fmt::format("{:.2g}", r.predicted), fmt::format("{}", r.tuned)});
      inverse.push_back(1 / r.curvature);
      tuned.push_back(r.tuned);
      logarithms += std::abs(std::log(r.predicted / r.tuned));
      same += std::abs(std::log(rates.front().tuned / r.tuned));
    }
    if (rates.size() > 2) {
      const double others = double(rates.size() - 1);
      sentences += fmt::format(
          "- {}: the prediction is wrong by a factor of {:.2f} on average (geometric), the same "
          "rate "
          "for all by {:.2f}; rank correlation {:.2f}, {} starts\n",
          c.title(), std::exp(logarithms / others), std::exp(same / others),
          common::rank_correlation(inverse, tuned), rates.size());
    }
  }
  return table.to_string() + sentences + (sentences.empty() ? "" : "\n");
}

std::string section(const char* title, const std::string& text) {
  return text.empty() ? text : fmt::format("### {}\n\n{}", title, text);
}

}  // namespace

std::string overview_of(const std::vector<condition>& conditions) {
  const std::vector<comparison> compared = comparisons_of(conditions);
  const auto whole = [](const start_runs& s) { return s.widely_run; };
  const auto variant = [](const start_runs& s) { return !s.widely_run; };
  const auto only_gains = [&](const condition&, const start_runs& s) {
    return compared_cell(compared, s);
  };
  const auto cell = [&](const condition& c, const start_runs& s) {
    const bool compares = std::any_of(compared.begin(), compared.end(),
                                      [&](const comparison& one) { return one.where == &c; });
    return is_reference(s) && compares ? apps::console::fixed(s.summary.test_loss.mean, 3)
                                       : compared_cell(compared, s);
  };
  std::string text = section("All runs", card(conditions, compared));
  text += section("Room", room_table(conditions));
  text += section("Against tuned Kaiming",
                  over_conditions(conditions, "eval loss, minus Kaiming's", whole, cell));
  text += section("Variants against tuned Kaiming",
                  over_conditions(conditions, "eval loss, minus Kaiming's", variant, only_gains));
  text += section("Comparisons", compared.empty() ? "" : count_sentences(compared));
  text +=
      section("Variants against their own method",
              over_conditions(conditions, "eval loss, minus the method's", variant, variant_cell));
  text += section(
      "At half of Kaiming's best rate, both at the same",
      over_conditions(conditions, "validation loss, minus Kaiming's", whole, small_rate_cell));
  text += section("Drift against loss", drift_sentences(conditions, compared));
  text += section("Predicted rates", prediction_text(conditions));
  return text;
}

}  // namespace studies::lm
