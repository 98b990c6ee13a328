#include "evidence.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "markdown.hpp"
#include "overview.hpp"
#include "report.hpp"

namespace studies::lm {
namespace {

// The name of a method with a star if its best rate is at the edge of those tried.
std::string rate_of(const common::summary_row& s) {
  return s.rate > 0 ? fmt::format("{}{}", s.rate, s.at_edge ? "*" : "") : "–";
}

experiment::result result_of(const condition& c, const start_runs& s) {
  return {&s.method, c.rank, s.chosen, s.summary};
}

std::string methods_table(const condition& c) {
  markdown_table table({"start", "seeds", "best rate", "validation, minus Kaiming's", "eval loss",
                        "minus Kaiming's", "token accuracy", "drift loss", "minus Kaiming's",
                        "numbers", "evidence steps", "tokens/s", "s/run"});
  const auto above = [&](const start_runs& s, double (*number)(const run_record&)) {
    return signed_cell(common::mean_with_interval(above_kaiming(c, s, number)));
  };
  for (const start_runs& start : c.starts) {
    const common::summary_row& s = start.summary;
    if (s.failed) {
      table.add({s.name, "", "none: diverged", "", "", "", "", "", "", "", "", "", ""});
      continue;
    }
    const method_means means = means_of(result_of(c, start));
    table.add({s.name, std::to_string(s.bases), rate_of(s), above(start, validation_loss_of),
               common::with_interval(s.test_loss, 3), above(start, test_loss_of),
               common::with_interval(s.test_accuracy, 3), common::with_interval(means.drift, 3),
               above(start, drift_of), apps::console::grouped(s.trainable_parameters),
               std::to_string(means.calibration), apps::console::fixed(means.tokens_per_second, 0),
               apps::console::fixed(s.seconds, 0)});
  }
  return table.to_string();
}

std::string rate_text(const common::summary_row& s, const run_group& runs) {
  const auto mean_of = [&](auto number) {
    return common::mean(common::values_of(common::by_base(runs, runs.front()->rate, number)));
  };
  std::string text = apps::console::fixed(mean_of(validation_loss_of), 3);
  if (runs.front()->rate == s.rate) {
    text = "**" + text + "**";
  }
  text += "; " + apps::console::fixed(mean_of(drift_of), 3);
  const auto seeds = common::by_base(runs, runs.front()->rate, drift_of).size();
  return int(seeds) == s.bases ? text : fmt::format("{} ({})", text, seeds);
}

// Mean validation and drift loss at every rate, with the number of seeds where it is not the table's.
std::string rates_table(const condition& c) {
  std::set<double> rates;
  for (const start_runs& s : c.starts) {
    for (const run_record* const r : s.all) {
      rates.insert(r->rate);
    }
  }
  rates.erase(0);
  std::vector<std::string> heads = {"validation; drift"};
  for (const double rate : rates) {
    heads.push_back(fmt::format("{}", rate));
  }
  markdown_table table(heads);
  for (const start_runs& s : c.starts) {
    if (s.all.front()->rate == 0) {
      continue;
    }
    std::vector<std::string> cells = {s.method.name};
    for (const double rate : rates) {
      run_group here;
      std::copy_if(s.all.begin(), s.all.end(), std::back_inserter(here),
                   [&](const run_record* r) { return r->rate == rate; });
      cells.push_back(here.empty() ? "" : rate_text(s.summary, here));
    }
    table.add(cells);
  }
  return table.to_string();
}

// What --why measured, the mean over the runs that did.
std::string why_table(const condition& c) {
  const std::vector<std::pair<const char*, std::string>> columns = {
      {start_curvature, "λ at the start"},
      {start_smallest, "smallest"},
      {full_share_at_start, "of full fine-tuning's change, before"},
      {full_share_at_end, "after"},
      {preheated_share, "preheated, in r directions"},
      {preheated_directions, "directions"}};
  std::vector<std::string> titles = {"start"};
  for (const auto& column : columns) {
    titles.push_back(column.second);
  }
  markdown_table table(titles);
  for (const start_runs& s : c.starts) {
    std::vector<std::string> cells = {s.method.name};
    bool measured = false;
    for (const auto& column : columns) {
      const double mean = mean_measure(s, column.first);
      measured = measured || std::isfinite(mean);
      cells.push_back(std::isfinite(mean) ? fmt::format("{:.4g}", mean) : "");
    }
    if (measured) {
      table.add(cells);
    }
  }
  return table.to_string();
}

std::string text_of(const condition& c) {
  std::string text = fmt::format("### {}\n\n{}.\n\n", c.title(), c.settings);
  std::map<std::string, std::set<std::string>> settings;
  for (const start_runs& s : c.starts) {
    for (const run_record* const r : s.all) {
      settings[s.method.name].insert(r->settings);
    }
  }
  for (const auto& [name, all] : settings) {
    if (all.size() > 1) {
      text += fmt::format("Runs of {} are of {} builds, machines or measurements.\n\n", name,
                          all.size());
    }
  }
  return text + methods_table(c) + rates_table(c) + why_table(c);
}

}  // namespace

std::string evidence_of(const std::vector<run_record>& runs,
                        const std::vector<method_entry>& known) {
  const std::vector<run_record> once = without_repeats(runs);
  const std::vector<condition> conditions = conditions_of(once, known);
  std::string text = overview_of(conditions);
  for (const condition& c : conditions) {
    text += text_of(c);
  }
  // The typographic minus of the page.
  for (std::size_t at = text.find('-'); at != std::string::npos; at = text.find('-', at + 1)) {
    const bool number = at + 1 < text.size() && text[at + 1] >= '0' && text[at + 1] <= '9';
    if (number && at > 0 && (text[at - 1] == ' ' || text[at - 1] == '*')) {
      text.replace(at, 1, "−");
    }
  }
  return text;
}

}  // namespace studies::lm
