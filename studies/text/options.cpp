#include "options.hpp"

#include <algorithm>
#include <set>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "apps/console/command_line.hpp"
#include "studies/common/method_options.hpp"

#if !defined(PREHEAT_TEXT_DIR)
#error "define PREHEAT_TEXT_DIR: where ./run text puts the model and the sentences, as a string"
#endif

namespace studies::text {

const preset reduced_preset = {.name = "reduced",
                               .sets = {"movie"},
                               .ranks = {2},
                               .all_methods = false,
                               .seeds = 3,
                               .rates = {1e-3, 2e-3, 5e-3, 1e-2},
                               .most_added_rates = 2,
                               .steps = 64,
                               .batch = 32,
                               .evaluations = 1,
                               .sizes = {.validation = 500, .test = 1000},
                               .minutes = 29};

const preset quick_preset = {.name = "quick",
                             .sets = {"tweets"},
                             .ranks = {2},
                             .all_methods = false,
                             .seeds = 2,
                             .rates = {2e-3, 5e-3},
                             .most_added_rates = 0,
                             .steps = 12,
                             .batch = 16,
                             .evaluations = 2,
                             .sizes = {.validation = 100, .test = 200},
                             .minutes = 0};

const preset full_preset = {.name = "full",
                            .sets = {"tweets", "movie", "amazon"},
                            .ranks = {2, 8},
                            .all_methods = true,
                            .seeds = 5,
                            .rates = {1e-3, 2e-3, 5e-3, 1e-2},
                            .most_added_rates = 3,
                            .steps = 96,
                            .batch = 32,
                            .evaluations = 4,
                            .sizes = {.validation = 500, .test = 1000},
                            .minutes = 0};

namespace {

constexpr const char* examples = R"(Examples:
  preheat-text                       the reduced grid, within 30 minutes on 2 cores
  preheat-text --quick --out /tmp/look
  preheat-text --sets tweets,amazon --methods lora,pissa,hrp --ranks 2,8 --minutes 0
  preheat-text --full                every method, set and rank: a day and more

The same command gives the same numbers, however many threads it uses. Every finished run is kept in
DIR/runs.jsonl: the same command goes on where it was stopped, and a command that asks for more runs
does only what is missing. Ctrl-C ends after the runs under way, a second one at once.
DIR/report.html has tables and figures, DIR/summary.csv the tables.)";

// Keeps the methods named, or those of the preset if none is. Throws CLI::ValidationError for an
// unknown name.
void choose_methods(options& wanted, const std::vector<std::string>& names, bool all_by_default) {
  const std::vector<method_entry> known = all_methods();
  const bool everything = common::asks_for_all(known, names) || (names.empty() && all_by_default);
  for (const method_entry& m : known) {
    if (everything || common::is_wanted(m, names)) {
      wanted.methods.push_back(m);
    } else {
      wanted.left_out.push_back(m.name);
    }
  }
}

}  // namespace

parsed parse(int argc, const char* const* argv) {
  CLI::App app(
      "Adapts a pretrained sentence encoder to the sentiment of sentences with every method of "
      "preheat, at equal rank and equal training steps, and compares them.",
      "preheat-text");
  app.footer(examples);
  app.get_formatter()->column_width(26);

  bool quick = false;
  bool full = false;
  bool list = false;
  bool no_report = false;
  preset given{};  // 0 or empty: the preset's
  given.minutes = -1;
  std::vector<std::string> method_names;
  options wanted;
  wanted.out = "results/text";
  wanted.data = PREHEAT_TEXT_DIR;
  wanted.threads = int(std::max(1u, std::thread::hardware_concurrency()));

  std::set<std::string> set_names;
  for (const set_description& s : all_sets) {
    set_names.insert(s.name);
  }
  CLI::Option* const quick_flag =
      app.add_flag("--quick", quick, "few steps, seeds and rates: to see that everything works");
  app.add_flag("--full", full, "every method, set and rank; no time limit")->excludes(quick_flag);
  app.add_flag("--list", list, "list the methods and exit");
  app.add_option("--sets", given.sets, "movie, tweets, amazon; default movie")
      ->delimiter(',')
      ->type_name("LIST")
      ->check(CLI::IsMember(set_names));
  app.add_option("--methods", method_names, "names from --list, or all; default those not marked +")
      ->delimiter(',')
      ->type_name("LIST");
  app.add_option("--ranks", given.ranks, "ranks of the adapters; default 2")
      ->delimiter(',')
      ->type_name("LIST")
      ->check(CLI::Range(1, 256));
  app.add_option("--seeds", given.seeds, fmt::format("default {}", reduced_preset.seeds))
      ->type_name("N")
      ->check(CLI::Range(1, 1000));
  app.add_option("--lrs", given.rates,
                 fmt::format("learning rates; default {}",
                             apps::console::joined(reduced_preset.rates, ",")))
      ->delimiter(',')
      ->type_name("LIST")
      ->check(CLI::Range(1e-8, 1e3));
  app.add_option(
         "--steps", given.steps,
         fmt::format("training steps, everything charged; default {}", reduced_preset.steps))
      ->type_name("N")
      ->check(CLI::Range(10, 1000000));
  app.add_option("--batch", given.batch,
                 fmt::format("sentences in a batch; default {}", reduced_preset.batch))
      ->type_name("N")
      ->check(CLI::Range(1, 100000));
  app.add_option("--head-rate", wanted.training.head_rate,
                 fmt::format("learning rate of the head, for every method; default {}",
                             wanted.training.head_rate))
      ->type_name("X")
      ->check(CLI::Range(0.0, 1e3));
  app.add_option("--validation", given.sizes.validation,
                 fmt::format("validation sentences; default {}", reduced_preset.sizes.validation))
      ->type_name("N")
      ->check(CLI::Range(2, 1000000));
  app.add_option("--test", given.sizes.test,
                 fmt::format("test sentences; default {}", reduced_preset.sizes.test))
      ->type_name("N")
      ->check(CLI::Range(2, 1000000));
  app.add_option("--minutes", given.minutes,
                 fmt::format("begin no run that would end later; 0: no limit; default {}",
                             reduced_preset.minutes))
      ->type_name("X")
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--out", wanted.out, "where results are kept; default results/text")
      ->type_name("DIR");
  app.add_option("--data", wanted.data, "folder with minilm/ and sentiment/")->type_name("DIR");
  app.add_option("--threads", wanted.threads, "runs at a time; default one a processor")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  app.add_flag("--no-report", no_report, "tables only");

  try {
    app.parse(argc, argv);
    if (list) {
      apps::console::print_methods(all_methods());
      return {};
    }
    choose_methods(wanted, method_names, full);
  } catch (const CLI::ParseError& error) {
    return {.wanted = {}, .exit_code = app.exit(error) == 0 ? 0 : common::usage_status};
  }

  wanted.amount = quick ? quick_preset : full ? full_preset : reduced_preset;
  const auto take = [](auto& value, const auto& of_user, bool is_given) {
    if (is_given) {
      value = of_user;
    }
  };
  take(wanted.amount.sets, given.sets, !given.sets.empty());
  take(wanted.amount.ranks, given.ranks, !given.ranks.empty());
  take(wanted.amount.seeds, given.seeds, given.seeds > 0);
  take(wanted.amount.rates, given.rates, !given.rates.empty());
  take(wanted.amount.steps, given.steps, given.steps > 0);
  take(wanted.amount.batch, given.batch, given.batch > 0);
  take(wanted.amount.sizes.validation, given.sizes.validation, app.count("--validation") > 0);
  take(wanted.amount.sizes.test, given.sizes.test, app.count("--test") > 0);
  take(wanted.amount.minutes, given.minutes, given.minutes >= 0);
  apps::console::sort_unique(wanted.amount.rates);
  apps::console::sort_unique(wanted.amount.ranks);
  for (const set_description& s : all_sets) {
    const auto& chosen = wanted.amount.sets;
    if (std::count(chosen.begin(), chosen.end(), s.name) > 0) {
      wanted.sets.push_back(&s);
    }
  }
  wanted.training.steps = wanted.amount.steps;
  wanted.training.batch = wanted.amount.batch;
  wanted.training.evaluations = wanted.amount.evaluations;
  wanted.report = !no_report;
  return {.wanted = std::move(wanted), .exit_code = 0};
}

}  // namespace studies::text
