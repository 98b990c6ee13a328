#include "options.hpp"

#include <algorithm>
#include <set>
#include <string_view>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "apps/console/command_line.hpp"
#include "studies/common/method_options.hpp"

namespace studies::compare {
namespace {

constexpr double default_row_norm = 3;  // about that of PEFT's gaussian at rank 4, in our layers

constexpr const char* examples = R"(Examples:
  preheat-compare --quick
  preheat-compare --methods lora,pissa,hrp --shifts rotated --ranks 2,4,8
  preheat-compare --seeds 3 --lrs 0.001,0.003,0.01,0.03 --out results/long

The same command gives the same numbers, however many threads it uses. Every finished run is kept in
DIR/runs.jsonl: the same command goes on where it was stopped, and a command that asks for more runs
does only what is missing. DIR/summary.csv has the tables, DIR/plots the pictures.)";

std::vector<shift> find_shifts(const std::vector<std::string>& names) {
  std::vector<shift> found;
  for (const shift s : all_shifts) {
    const bool wanted = std::count(names.begin(), names.end(), name(s)) > 0;
    if (wanted || names.empty()) {
      found.push_back(s);
    }
  }
  return found;
}

// The methods named, in the order of the list. Throws CLI::ValidationError for an unknown name.
std::vector<method_entry> find_methods(std::vector<method_entry> known,
                                       const std::vector<std::string>& names) {
  if (!asks_for_all(known, names)) {
    std::erase_if(known, [&](const method_entry& m) { return !is_wanted(m, names); });
  }
  return known;
}

}  // namespace

parsed parse(int argc, char** argv) {
  CLI::App app(
      "Adapts a digit classifier to shifted digits with every method of preheat, at equal rank and "
      "equal training steps, and compares them.",
      "preheat-compare");
  app.footer(examples);
  app.get_formatter()->column_width(26);

  options wanted;
  std::vector<std::string> method_names;
  std::vector<std::string> shift_names;
  wanted.ranks = {4};
  preset given{};  // 0 or empty: the preset's
  bool quick = false;
  bool list = false;
  double row_norm = default_row_norm;
  bool no_row_norm = false;
  bool no_plots = false;
  wanted.threads = int(std::max(1u, std::thread::hardware_concurrency()));

  std::set<std::string> shift_choices;
  for (const shift s : all_shifts) {
    shift_choices.emplace(name(s));
  }
  app.add_flag("--quick", quick, "few bases, rates and steps: 20 s, to see that everything works");
  app.add_flag("--list", list, "list the methods and exit");
  app.add_option("--methods", method_names, "names from --list, or all; default those not marked +")
      ->delimiter(',')
      ->type_name("LIST");
  app.add_option("--shifts", shift_names, "rotated, mirrored, new_classes; default all")
      ->delimiter(',')
      ->type_name("LIST")
      ->check(CLI::IsMember(shift_choices));
  app.add_option("--ranks", wanted.ranks, "ranks of the adapters; default 4")
      ->delimiter(',')
      ->type_name("LIST")
      ->check(CLI::Range(1, 256));
  app.add_option("--bases", given.bases,
                 fmt::format("pretrained networks; default {}", default_preset.bases))
      ->type_name("N")
      ->check(CLI::Range(1, 1000));
  app.add_option("--seeds", given.seeds,
                 fmt::format("runs on each base; default {}", default_preset.seeds))
      ->type_name("N")
      ->check(CLI::Range(1, 1000));
  app.add_option("--lrs", given.rates,
                 fmt::format("learning rates; default {}", joined(default_preset.rates, ",")))
      ->delimiter(',')
      ->type_name("LIST")
      ->check(CLI::Range(1e-8, 1e3));
  app.add_option(
         "--steps", given.steps,
         fmt::format("training steps, preheating included; default {}", default_preset.steps))
      ->type_name("N")
      ->check(CLI::Range(10, 1000000));
  app.add_option("--batch", wanted.training.batch,
                 fmt::format("digits in a batch; default {}", wanted.training.batch))
      ->type_name("N")
      ->check(CLI::Range(std::size_t(1), train_size));
  app.add_option("--row-norm", row_norm,
                 fmt::format("also start every init of product zero from directions of this norm; "
                             "default {}",
                             default_row_norm))
      ->type_name("X")
      ->check(CLI::Range(1e-6, 1e6));
  app.add_flag("--no-row-norm", no_row_norm, "leave those rows out");
  app.add_option("--out", wanted.out, "where results are kept; default results")->type_name("DIR");
  app.add_option("--data", wanted.data, "digits.csv, if it is not found by itself")
      ->type_name("FILE");
  app.add_option("--threads", wanted.threads, "runs at a time; default one a processor")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  app.add_flag("--no-plots", no_plots, "tables only");

  try {
    app.parse(argc, argv);
    std::vector<method_entry> known = all_methods(no_row_norm ? 0 : row_norm);
    if (list) {
      print_methods(known);
      return {};
    }
    wanted.methods = find_methods(std::move(known), method_names);
  } catch (const CLI::ParseError& error) {
    return {.wanted = {}, .exit_code = app.exit(error) == 0 ? 0 : usage_status};
  }

  const preset& start = quick ? quick_preset : default_preset;
  wanted.amount = {
      .bases = given.bases > 0 ? given.bases : start.bases,
      .seeds = given.seeds > 0 ? given.seeds : start.seeds,
      .rates = given.rates.empty() ? start.rates : given.rates,
      .most_added_rates = start.most_added_rates,
      .steps = given.steps > 0 ? given.steps : start.steps,
      .pretraining_steps = start.pretraining_steps,
  };
  sort_unique(wanted.amount.rates);
  sort_unique(wanted.ranks);
  wanted.shifts = find_shifts(shift_names);
  wanted.training.steps = wanted.amount.steps;
  wanted.training.pretraining_steps = wanted.amount.pretraining_steps;
  wanted.plots = !no_plots;
  return {.wanted = std::move(wanted), .exit_code = 0};
}

}  // namespace studies::compare
