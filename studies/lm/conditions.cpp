#include "conditions.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "report.hpp"
#include "studies/common/comparison.hpp"
#include "variants.hpp"

namespace studies::lm {
namespace {

// A run's settings without what does not make it another run: a method's fingerprint, the machine, the texts that
// it wrote, and that its start was measured.
std::string shared_settings(const run_record& r) {
  std::string text = r.settings.substr(0, r.settings.find("; fingerprint"));
  if (text.size() < r.settings.size() && text.find("; texts") != std::string::npos) {
    text.resize(text.rfind("; "));
  }
  static const std::regex aside(", [0-9]+ samples of [0-9]+ tokens|, starts measured[^;]*");
  return std::regex_replace(text, aside, "");
}

// The runs at the best rate by validation, by the seeds that all rates with enough seeds have. Empty if every rate
// fails.
run_group at_best_rate(const run_group& runs) {
  const std::map<double, std::set<int>> seeds = rates_with_seeds(runs);
  const auto in_all = [&](int base) {
    return std::all_of(seeds.begin(), seeds.end(),
                       [&](const auto& rate) { return rate.second.contains(base); });
  };
  run_group judged, best;
  std::copy_if(runs.begin(), runs.end(), std::back_inserter(judged),
               [&](const run_record* r) { return seeds.contains(r->rate) && in_all(r->base); });
  if (const auto choice = common::choose_rate(judged)) {
    std::copy_if(runs.begin(), runs.end(), std::back_inserter(best),
                 [&](const run_record* r) { return r->rate == choice->rate; });
  }
  return best;
}

// Where a method is in the list, and the start without runs.
std::pair<std::size_t, start_runs> start_of(const run_record& r,
                                            const std::vector<method_entry>& known) {
  start_runs found{.method = {.id = r.method, .name = r.name, .citation = {}}, .origin = r.method};
  std::size_t place = known.size(), longest = 0;
  for (std::size_t i = 0; i < known.size(); ++i) {
    const std::string& id = known[i].id;
    const auto variant = variant_from(r.method, id);
    if ((r.method == id || variant) && id.size() > longest) {
      place = i;
      longest = id.size();
      found.method.kind = known[i].kind;
      found.origin = id;
      found.variant = variant.value_or(start_variant{});
    }
  }
  return {place, found};
}

void summarize(start_runs& s) {
  s.chosen = at_best_rate(s.all);
  s.summary = common::summarize(s.chosen.empty() ? s.all : s.chosen);
  const auto [least, most] = std::minmax_element(
      s.all.begin(), s.all.end(), [](const auto* a, const auto* b) { return a->rate < b->rate; });
  const double best = s.summary.rate;
  s.summary.at_edge =
      (*least)->rate < (*most)->rate && (best == (*least)->rate || best == (*most)->rate);
}

}  // namespace

const start_runs* condition::find(const std::string& id) const {
  const auto it =
      std::find_if(starts.begin(), starts.end(), [&](const auto& s) { return s.method.id == id; });
  return it == starts.end() ? nullptr : &*it;
}

const start_runs* condition::usual_of(const start_runs& s) const {
  const auto it = std::find_if(starts.begin(), starts.end(), [&](const start_runs& other) {
    return other.origin == s.origin && other.widely_run;
  });
  return it == starts.end() ? nullptr : &*it;
}

std::map<double, std::set<int>> rates_with_seeds(const run_group& runs) {
  std::map<double, std::set<int>> seeds;
  std::size_t most = 0;
  for (const run_record* const r : runs) {
    seeds[r->rate].insert(r->base);
    most = std::max(most, seeds[r->rate].size());
  }
  std::erase_if(seeds, [&](const auto& rate) { return 2 * rate.second.size() < most; });
  return seeds;
}

std::string condition::title() const {
  return fmt::format("{}, {} steps, rank {}", problem, steps, rank);
}

std::vector<run_record> without_repeats(const std::vector<run_record>& runs) {
  std::vector<run_record> first;
  std::map<std::string, std::size_t> place;
  for (const run_record& r : runs) {
    common::run_definition same = r;
    same.settings = shared_settings(r);
    const auto [it, is_new] = place.try_emplace(common::key(same), first.size());
    if (is_new) {
      first.push_back(r);
    } else {
      first[it->second].measures.insert(r.measures.begin(), r.measures.end());
    }
  }
  return first;
}

std::vector<condition> conditions_of(const std::vector<run_record>& runs,
                                     const std::vector<method_entry>& known) {
  std::map<std::tuple<std::string, int, std::string>, run_group> groups;
  for (const run_record& r : runs) {
    groups[{r.shift, r.steps, shared_settings(r)}].push_back(&r);
  }
  std::vector<condition> all;
  for (const auto& [key, group] : groups) {
    std::set<int> ranks;
    for (const run_record* const r : group) {
      ranks.insert(r->rank);
    }
    if (ranks.size() > 1) {
      ranks.erase(0);
    }
    for (const int rank : ranks) {
      const auto& [problem, steps, settings] = key;
      condition c{.problem = problem, .steps = steps, .rank = rank, .settings = settings};
      // Variants in the order of their numbers.
      std::map<std::tuple<std::size_t, int, int, double, std::string>, start_runs> by_method;
      for (const run_record* const r : group) {
        if (r->rank == rank || r->rank == 0) {
          const auto [place, start] = start_of(*r, known);
          const start_variant& v = start.variant;
          by_method
              .try_emplace({place, v.preheat_multiple, v.preheat_steps, v.row_norm, r->method},
                           start)
              .first->second.all.push_back(r);
        }
      }
      for (auto& [place, start] : by_method) {
        summarize(start);
        c.starts.push_back(std::move(start));
      }
      all.push_back(std::move(c));
    }
  }
  std::map<std::string, std::size_t> count;
  for (const condition& c : all) {
    for (const start_runs& s : c.starts) {
      ++count[s.method.id];
    }
  }
  for (condition& c : all) {
    for (start_runs& s : c.starts) {
      s.widely_run = s.method.id == s.origin || count[s.method.id] >= several_conditions;
    }
  }
  return all;
}

std::vector<double> above_kaiming(const condition& c, const start_runs& s,
                                  double (*number)(const run_record&)) {
  const start_runs* const kaiming = c.find(common::reference_method);
  if (kaiming == nullptr || kaiming == &s || !(s.summary.rate > 0)) {
    return {};
  }
  return common::paired_differences(s.chosen, kaiming->chosen, number);
}

bool comparison::excludes_zero() const {
  return std::abs(difference.mean) > difference.half;
}

std::vector<comparison> comparisons_of(const std::vector<condition>& conditions) {
  std::vector<comparison> all;
  std::vector<double> p;
  for (const condition& c : conditions) {
    for (const start_runs& s : c.starts) {
      const std::vector<double> differences =
          s.is_full() ? std::vector<double>() : above_kaiming(c, s, test_loss_of);
      if (differences.size() >= least_compared_seeds) {
        all.push_back({&c, &s, common::mean_with_interval(differences)});
        p.push_back(common::t_test(differences));
      }
    }
  }
  const std::vector<double> adjusted = common::holm(p);
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].p = p[i];
    all[i].adjusted = adjusted[i];
  }
  return all;
}

double test_loss_of(const run_record& r) {
  return r.test_loss;
}
double validation_loss_of(const run_record& r) {
  return r.validation_loss;
}

double mean_measure(const start_runs& s, const char* name) {
  std::vector<double> values;
  for (const run_record* const r : s.all) {
    const double value = measure_of(*r, name);
    if (std::isfinite(value)) {
      values.push_back(value);
    }
  }
  return common::mean(values);
}

estimate room_of(const condition& c) {
  const start_runs* const all = c.find(full_method);
  if (all == nullptr) {
    return {};
  }
  const estimate e = common::mean_with_interval(above_kaiming(c, *all, test_loss_of));
  return {.mean = -e.mean, .half = e.half};
}

std::vector<predicted_rate> predicted_rates(const condition& c) {
  const start_runs* const kaiming = c.find(common::reference_method);
  const double known =
      kaiming == nullptr ? common::not_a_number : mean_measure(*kaiming, start_curvature);
  if (!std::isfinite(known) || kaiming->summary.failed) {
    return {};
  }
  std::vector<predicted_rate> all;
  for (const start_runs& s : c.starts) {
    const double own = mean_measure(s, start_curvature);
    if (std::isfinite(own) && own > 0 && !s.summary.failed) {
      all.push_back({&s, own, kaiming->summary.rate * known / own, s.summary.rate});
    }
  }
  std::stable_partition(all.begin(), all.end(),
                        [&](const predicted_rate& r) { return r.who == kaiming; });
  return all;
}

}  // namespace studies::lm
