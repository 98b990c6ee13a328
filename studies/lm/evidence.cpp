#include "evidence.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "report.hpp"
#include "studies/common/report_document.hpp"

namespace studies::lm {
namespace {

using common::estimate;
using common::run_group;
using common::run_record;

// What one table is of: the problem, the steps, and the settings without a method's fingerprint.
using table_key = std::tuple<std::string, int, std::string>;

table_key key_of(const run_record& r) {
  return {r.shift, r.steps, r.settings.substr(0, r.settings.find("; fingerprint"))};
}

// The runs of a method, and those of them that choose its rate.
struct method_runs {
  const method_entry* method;
  run_group all;
  experiment::result result;
};

// The runs at the rates that have the most seeds.
run_group at_fullest_rates(const run_group& runs) {
  std::map<double, std::set<int>> seeds;
  std::size_t most = 0;
  for (const run_record* const r : runs) {
    seeds[r->rate].insert(r->base);
    most = std::max(most, seeds[r->rate].size());
  }
  run_group kept;
  std::copy_if(runs.begin(), runs.end(), std::back_inserter(kept),
               [&](const run_record* r) { return seeds[r->rate].size() == most; });
  return kept;
}

class evidence {
 public:
  evidence(const std::vector<run_record>& runs, const std::vector<method_entry>& known)
      : known_(known) {
    std::map<table_key, std::vector<const run_record*>> tables;
    for (const run_record& r : runs) {
      tables[key_of(r)].push_back(&r);
    }
    for (const auto& [key, group] : tables) {
      std::set<int> ranks;
      for (const run_record* const r : group) {
        ranks.insert(r->rank);
      }
      ranks.erase(0);
      for (const int rank : ranks.empty() ? std::set<int>{0} : ranks) {
        add(key, rank, group);
      }
    }
  }
  std::string text() const { return text_; }

 private:
  // The entry of a method of the list, or of a variant, whose identifier goes on with "_".
  std::pair<std::size_t, method_entry> entry_of(const run_record& r) const {
    method_entry found{.id = r.method, .name = r.name, .citation = {}};
    std::size_t place = known_.size(), longest = 0;
    for (std::size_t i = 0; i < known_.size(); ++i) {
      const std::string& id = known_[i].id;
      if ((r.method == id || r.method.starts_with(id + "_")) && id.size() > longest) {
        place = i;
        longest = id.size();
        found.kind = known_[i].kind;
      }
    }
    return {place, found};
  }

  void add(const table_key& key, int rank, const std::vector<const run_record*>& group) {
    std::map<std::pair<std::size_t, std::string>, std::pair<method_entry, run_group>> by_method;
    std::map<std::string, std::set<std::string>> settings;
    for (const run_record* const r : group) {
      if (r->rank == rank || r->rank == 0) {
        const auto [place, entry] = entry_of(*r);
        auto& one = by_method.try_emplace({place, r->method}, entry, run_group{}).first->second;
        one.second.push_back(r);
        settings[r->name].insert(r->settings);
      }
    }
    std::vector<method_runs> methods;
    for (const auto& [place, one] : by_method) {
      const run_group chosen = at_fullest_rates(one.second);
      method_runs m{&one.first, one.second, {&one.first, rank, chosen, common::summarize(chosen)}};
      const auto [least, most] =
          std::minmax_element(m.all.begin(), m.all.end(),
                              [](const auto* a, const auto* b) { return a->rate < b->rate; });
      m.result.summary.at_edge =
          (*least)->rate < (*most)->rate &&
          (m.result.summary.rate == (*least)->rate || m.result.summary.rate == (*most)->rate);
      methods.push_back(std::move(m));
    }
    const auto& [problem, steps, shared] = key;
    text_ += fmt::format("### {}, {} steps, rank {}\n\n{}.\n\n", problem, steps, rank, shared);
    for (const auto& [name, all] : settings) {
      if (all.size() > 1) {
        text_ += fmt::format("Runs of {} are of {} builds or machines.\n\n", name, all.size());
      }
    }
    std::vector<experiment::result> results;
    for (const method_runs& m : methods) {
      results.push_back(m.result);
    }
    add_methods(results);
    add_rates(methods);
    add_why(results);
    add_sentences(results);
  }

  void line(const std::vector<std::string>& cells) {
    text_ += "|";
    for (const std::string& cell : cells) {
      text_ += " " + cell + " |";
    }
    text_ += "\n";
  }
  void head(const std::vector<std::string>& cells) {
    line(cells);
    text_ += "|";
    for (std::size_t i = 0; i < cells.size(); ++i) {
      text_ += "---|";
    }
    text_ += "\n";
  }

  void add_methods(const std::vector<experiment::result>& results) {
    head({"start", "seeds", "best rate", "validation, minus Kaiming's", "eval loss",
          "minus Kaiming's", "token accuracy", "drift loss", "numbers", "evidence steps",
          "tokens/s", "CPU s/run"});
    const auto above_kaiming = [&](const experiment::result& r, auto number) {
      const estimate e = above_reference(results, r, number);
      return r.summary.rate > 0 && std::isfinite(e.mean) ? common::with_sign(e, 3) : std::string();
    };
    for (const experiment::result& r : results) {
      const common::summary_row& s = r.summary;
      if (s.failed) {
        line({s.name, "", "none: diverged", "", "", "", "", "", "", "", "", ""});
        continue;
      }
      const method_means means = means_of(r);
      line({s.name, std::to_string(s.bases),
            s.rate > 0 ? fmt::format("{}{}", s.rate, s.at_edge ? "*" : "") : "–",
            above_kaiming(r, [](const run_record& x) { return x.validation_loss; }),
            common::with_interval(s.test_loss, 3),
            above_kaiming(r, [](const run_record& x) { return x.test_loss; }),
            common::with_interval(s.test_accuracy, 3), common::with_interval(means.drift, 3),
            apps::console::grouped(s.trainable_parameters), std::to_string(means.calibration),
            apps::console::fixed(means.tokens_per_second, 0), apps::console::fixed(s.seconds, 0)});
    }
    text_ += "\n";
  }

  // Mean validation and drift loss at every rate, with the number of seeds where it is not the table's.
  void add_rates(const std::vector<method_runs>& methods) {
    std::set<double> rates;
    for (const method_runs& m : methods) {
      for (const run_record* const r : m.all) {
        rates.insert(r->rate);
      }
    }
    rates.erase(0);
    std::vector<std::string> heads = {"validation; drift"};
    for (const double rate : rates) {
      heads.push_back(fmt::format("{}", rate));
    }
    head(heads);
    for (const method_runs& m : methods) {
      if (m.all.front()->rate == 0) {
        continue;
      }
      std::vector<std::string> cells = {m.method->name};
      for (const double rate : rates) {
        run_group here;
        std::copy_if(m.all.begin(), m.all.end(), std::back_inserter(here),
                     [&](const run_record* r) { return r->rate == rate; });
        cells.push_back(here.empty() ? "" : rate_text(m.result.summary, here));
      }
      line(cells);
    }
    text_ += "\n";
  }
  static std::string rate_text(const common::summary_row& s, const run_group& runs) {
    const auto mean_of = [&](auto number) {
      return common::mean(common::values_of(common::by_base(runs, runs.front()->rate, number)));
    };
    const double validation = mean_of([](const run_record& r) { return r.validation_loss; });
    std::string text = apps::console::fixed(validation, 3);
    if (runs.front()->rate == s.rate) {
      text = "**" + text + "**";
    }
    text += "; " + apps::console::fixed(mean_of(drift_of), 3);
    const auto seeds = common::by_base(runs, runs.front()->rate, drift_of).size();
    return int(seeds) == s.bases ? text : fmt::format("{} ({})", text, seeds);
  }

  // What --why measured, the mean over the runs at the chosen rate.
  void add_why(const std::vector<experiment::result>& results) {
    const std::vector<std::pair<const char*, std::string>> columns = {
        {start_curvature, "λ at the start"},
        {start_smallest, "smallest"},
        {full_share_at_start, "of full fine-tuning's change, before"},
        {full_share_at_end, "after"},
        {preheated_share, "preheated, in r directions"},
        {preheated_directions, "directions"}};
    std::vector<std::string> titles = {"start"};
    for (const auto& [name, title] : columns) {
      titles.push_back(title);
    }
    bool any = false;
    for (const experiment::result& r : results) {
      std::vector<std::string> cells = {r.summary.name};
      bool measured = false;
      for (const auto& column : columns) {
        const double mean =
            mean_at_rate(r, [&](const run_record& run) { return measure_of(run, column.first); });
        measured = measured || std::isfinite(mean);
        cells.push_back(std::isfinite(mean) ? fmt::format("{:.4g}", mean) : "");
      }
      if (measured && !any) {
        head(titles);
      }
      if (measured) {
        line(cells);
      }
      any = any || measured;
    }
    text_ += any ? "\n" : "";
  }

  // The room that a start has, and the differences that are more than chance.
  void add_sentences(const std::vector<experiment::result>& results) {
    const auto loss = [](const run_record& r) { return r.test_loss; };
    std::size_t count = 0;
    for (const experiment::result& r : results) {
      const estimate difference = above_reference(results, r, loss);
      count += std::isfinite(difference.half) && r.summary.rate > 0;
      if (r.method->id == "full" && std::isfinite(difference.mean)) {
        text_ += fmt::format("Room: tuned LoRA's eval loss less that of full fine-tuning is {}.\n",
                             common::with_sign({-difference.mean, difference.half}, 3));
      }
    }
    if (count == 0) {
      return;
    }
    std::string alone, together;
    for (const experiment::result& r : results) {
      if (r.summary.rate > 0) {
        for (auto [text, confidence] :
             {std::pair{&alone, 0.95}, std::pair{&together, 1 - 0.05 / double(count)}}) {
          const estimate d = above_reference(results, r, loss, confidence);
          if (std::abs(d.mean) > d.half) {
            *text += (text->empty() ? "" : "; ") + r.summary.name + " " + common::with_sign(d, 3);
          }
        }
      }
    }
    const auto or_none = [](const std::string& text) { return text.empty() ? "none" : text; };
    text_ += fmt::format(
        "Of {} differences in eval loss to Kaiming these exclude 0 at 95 %: {}.\nAt 95 % for all "
        "of "
        "them together (Bonferroni): {}.\n\n",
        count, or_none(alone), or_none(together));
  }

  const std::vector<method_entry>& known_;
  std::string text_;
};

}  // namespace

std::string evidence_of(const std::vector<run_record>& runs,
                        const std::vector<method_entry>& known) {
  std::string text = evidence(runs, known).text();
  // The typographic minus of the page.
  for (std::size_t at = text.find(" -"); at != std::string::npos; at = text.find(" -", at + 1)) {
    text.replace(at + 1, 1, "−");
  }
  return text;
}

}  // namespace studies::lm
