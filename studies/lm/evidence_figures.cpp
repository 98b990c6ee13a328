#include "evidence_figures.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <preheat/init/hrp.hpp>
#include <preheat/method.hpp>

#include "method_figure.hpp"
#include "report.hpp"

namespace studies::lm {
namespace {

using apps::console::picture;
using common::line_figure_settings;

constexpr const char* zero_line =
    "  set xzeroaxis linetype 1 linewidth 1.2 linecolor rgb \"#444444\"\n";
constexpr const char* gain_label =
    "  set ylabel \"eval loss, minus tuned Kaiming's\" offset 1.2,0\n";

line_figure_settings settings_of(const std::string& name, const std::string& title,
                                 const std::string& axes, bool joined = true,
                                 bool with_intervals = true) {
  return {.name = name,
          .title = title,
          .program = "preheat-lm",
          .axes = axes,
          .with_points = true,
          .with_intervals = with_intervals,
          .joined = joined};
}

bool is_start(const start_runs& s) {
  return !s.is_full() && s.widely_run && !common::is_system(s.method.kind);
}

struct drawer {
  const std::vector<method_entry>& known;
  std::vector<condition> conditions;
  std::vector<comparison> compared;
  std::vector<picture> all{};

  // The conditions with the most comparisons, at most so many, in their order.
  std::vector<const condition*> main_conditions(std::size_t most) const {
    std::vector<std::pair<std::size_t, const condition*>> counts;
    for (const condition& c : conditions) {
      const auto count = std::count_if(
          compared.begin(), compared.end(),
          [&](const comparison& one) { return one.where == &c && is_start(*one.who); });
      if (count > 0) {
        counts.emplace_back(std::size_t(count), &c);
      }
    }
    std::stable_sort(counts.begin(), counts.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    std::vector<const condition*> found;
    for (std::size_t i = 0; i < std::min(most, counts.size()); ++i) {
      found.push_back(counts[i].second);
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  // A panel a task and rank that has several numbers of steps.
  void by_steps() {
    method_figure f(known,
                    settings_of("lm_steps", "Difference to tuned Kaiming against training steps",
                                std::string("  set logscale x 2\n  set xrange [24:*]\n"
                                            "  set xtics (32, 64, 128, 256, 512, 1024, 2048)\n"
                                            "  set xlabel \"training steps, everything charged\" "
                                            "offset 0,0.3\n") +
                                    gain_label + zero_line),
                    1.03);
    std::map<std::pair<std::string, int>, std::set<int>> steps;
    for (const comparison& one : compared) {
      if (is_start(*one.who)) {
        steps[{one.where->problem, one.where->rank}].insert(one.where->steps);
      }
    }
    for (const auto& [key, several] : steps) {
      if (several.size() < 2) {
        continue;
      }
      f.begin_panel(fmt::format("{}, rank {}", key.first, key.second));
      for (const comparison& one : compared) {
        if (is_start(*one.who) && one.where->problem == key.first &&
            one.where->rank == key.second) {
          f.add(one.who->origin, one.where->steps, one.difference);
        }
      }
    }
    f.draw(all);
  }

  // A setting of starts that variants have another value of.
  struct setting {
    const char *name, *title, *label, *range;
    double (*value)(const start_variant&);  // 0: the method's own
    start_variant (*without)(start_variant);
    double usual;  // of the methods as they are
  };
  // A panel a condition that has such variants, a line a method: its variants that differ in nothing else.
  void by_setting(const setting& one) {
    method_figure f(
        known,
        settings_of(one.name, fmt::format("Difference to tuned Kaiming against {}", one.title),
                    fmt::format("  set logscale x 2\n  set xrange [{}]\n  set format x \"%g\"\n"
                                "  set xlabel \"{}\" offset 0,0.3\n",
                                one.range, one.label) +
                        gain_label + zero_line),
        1.03);
    for (const condition& c : conditions) {
      f.begin_panel(c.title());
      std::map<double, std::vector<const comparison*>> points;  // in the order of a line
      for (const comparison& varied : compared) {
        const bool counts =
            varied.where == &c && std::any_of(compared.begin(), compared.end(), [&](const auto& o) {
              return o.where == &c && o.who->origin == varied.who->origin &&
                     one.value(o.who->variant) > 0 &&
                     one.without(o.who->variant) == one.without(varied.who->variant);
            });
        const double value = one.value(varied.who->variant);
        if (counts) {
          points[value > 0 ? value : one.usual].push_back(&varied);
        }
      }
      for (const auto& [value, several] : points) {
        for (const comparison* const p : several) {
          f.add(p->who->origin, value, p->difference);
        }
      }
    }
    f.draw(all);
  }

  void by_rate() {
    method_figure f(known,
                    settings_of("lm_rates", "Validation loss against learning rate",
                                "  set logscale x\n  set xrange [*:*]\n  set format x \"%g\"\n"
                                "  set xtics (0.00025, 0.001, 0.004, 0.016)\n"
                                "  set xlabel \"learning rate\" offset 0,0.3\n"
                                "  set ylabel \"validation loss\" offset 1.2,0\n",
                                true, false));
    for (const condition* const c : main_conditions(3)) {
      f.begin_panel(c->title());
      for (const start_runs& s : c->starts) {
        if (is_start(s) && s.method.id != "base") {
          // Of few seeds a line would look like the others and be their noise.
          const auto counted = rates_with_seeds(s.all);
          for (const auto& [rate, loss] : common::validation_by_rate(s.all)) {
            const auto seeds = counted.find(rate);
            const bool enough =
                seeds != counted.end() && seeds->second.size() >= least_compared_seeds;
            f.add(s.origin, rate, {.mean = enough ? loss : common::not_a_number});
          }
        }
      }
    }
    f.draw(all);
  }

  void by_room() {
    method_figure f(
        known,
        settings_of("lm_room", "Difference to tuned Kaiming against the room under it",
                    std::string("  set xrange [*:*]\n  set xlabel \"eval loss of tuned Kaiming, "
                                "minus tuned full fine-tuning's\" offset 0,0.3\n") +
                        gain_label + zero_line,
                    false));
    f.begin_panel("every condition with both");
    for (const comparison& one : compared) {
      if (is_start(*one.who)) {
        f.add(one.who->origin, room_of(*one.where).mean, one.difference);
      }
    }
    f.draw(all);
  }

  void by_drift() {
    method_figure f(
        known,
        settings_of(
            "lm_drift", "Drift against loss, both minus tuned Kaiming's",
            std::string(
                "  set xrange [*:*]\n  set xtics 0.02\n  set xlabel \"eval loss\" offset 0,0.3\n"
                "  set ylabel \"loss on quotations\" offset 1.2,0\n") +
                zero_line + "  set yzeroaxis linetype 1 linecolor rgb \"#444444\"\n",
            false));
    for (const condition* const c : main_conditions(3)) {
      f.begin_panel(c->title());
      for (const comparison& one : compared) {
        if (one.where == c && is_start(*one.who)) {
          f.add(one.who->origin, one.difference.mean,
                common::mean_with_interval(above_kaiming(*c, *one.who, drift_of)));
        }
      }
    }
    f.draw(all);
  }

  void by_prediction() {
    method_figure f(known,
                    settings_of("lm_predicted", "Tuned rate against the one that 1/λ predicts",
                                "  set logscale xy\n  set xrange [*:*]\n  set format xy \"%g\"\n"
                                "  set xlabel \"predicted from Kaiming's\" offset 0,0.3\n"
                                "  set ylabel \"tuned\" offset 1.2,0\n",
                                false, false));
    for (const condition& c : conditions) {
      f.begin_panel(c.title());
      for (const predicted_rate& r : predicted_rates(c)) {
        if (is_start(*r.who)) {
          f.add(r.who->origin, r.predicted, {.mean = r.tuned});
        }
      }
    }
    f.draw(all);
  }
};

}  // namespace

std::vector<picture> evidence_figures(const std::vector<run_record>& runs,
                                      const std::vector<method_entry>& known) {
  const std::vector<run_record> once = without_repeats(runs);
  const std::vector<condition> conditions = conditions_of(once, known);
  drawer d{known, conditions, {}};
  d.compared = comparisons_of(d.conditions);
  d.by_steps();
  const preheat::init::hrp<> usual;
  d.by_setting({"lm_preheating_rank", "the rank of preheating", "rank of preheating, over the rank",
                "0.7:90", [](const start_variant& v) { return double(v.preheat_multiple); },
                [](start_variant v) {
                  v.preheat_multiple = 0;
                  return v;
                },
                double(usual.multiple)});
  d.by_setting({"lm_norms", "the norm of the directions", "norm of every row of A", "0.07:4",
                [](const start_variant& v) { return v.row_norm; },
                [](start_variant v) {
                  v.row_norm = 0;
                  return v;
                },
                usual.row_norm(1, 1)});
  d.by_rate();
  d.by_room();
  d.by_drift();
  d.by_prediction();
  return d.all;
}

}  // namespace studies::lm
