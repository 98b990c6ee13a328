#include "options.hpp"

#include <algorithm>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "apps/console/command_line.hpp"
#include "studies/common/method_options.hpp"

#if !defined(PREHEAT_LM_DIR)
#error "define PREHEAT_LM_DIR: where ./run lm puts the model and the texts, as a string"
#endif

namespace studies::lm {

const preset reduced_preset = {.name = "reduced",
                               .ranks = {4},
                               .methods = {},
                               .seeds = 3,
                               .rates = {3e-4, 1e-3, 3e-3},
                               .most_added_rates = 1,
                               .steps = 40,
                               .batch = 8,
                               .samples = 4,
                               .sizes = {.validation = 64, .test = 128, .drift = 32},
                               .minutes = 28};

const preset quick_preset = {.name = "quick",
                             .ranks = {4},
                             .methods = {"base", "lora", "hrp"},
                             .seeds = 2,
                             .rates = {1e-3},
                             .most_added_rates = 0,
                             .steps = 10,
                             .batch = 4,
                             .samples = 2,
                             .sizes = {.validation = 8, .test = 16, .drift = 8},
                             .minutes = 2.5};

const preset full_preset = {.name = "full",
                            .ranks = {4, 16},
                            .methods = {"all"},
                            .seeds = 5,
                            .rates = {3e-4, 1e-3, 3e-3, 1e-2},
                            .most_added_rates = 3,
                            .steps = 400,
                            .batch = 16,
                            .samples = 8,
                            .sizes = {.validation = 256, .test = 1024, .drift = 64},
                            .minutes = 0};

namespace {

constexpr const char* examples = R"(Examples:
  preheat-lm                         the reduced grid, within 30 minutes on 2 cores
  preheat-lm --quick --out /tmp/look
  preheat-lm --methods base,lora,pissa,hrp --ranks 4,16 --steps 200 --minutes 0
  preheat-lm --full                  every method and both ranks: days
  mpirun -n 8 preheat-lm --full      the same runs, spread over processes

The same command gives the same numbers, however many threads it uses. Every finished run is kept in
DIR/runs.jsonl: the same command goes on where it was stopped, and a command that asks for more runs
does only what is missing. Ctrl-C ends after the runs under way, a second one at once. A run takes
about 1 GB of memory beside the model's 0.6. DIR/report.html has tables and figures, and definitions
that the models wrote; DIR/summary.csv the tables.)";

// Throws CLI::ValidationError for an unknown name.
void choose_methods(options& wanted, const std::vector<std::string>& names) {
  const std::vector<method_entry> known = all_methods();
  const bool everything = common::asks_for_all(known, names);
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
      "Teaches a pretrained language model to define words, with the methods of preheat at equal "
      "rank and equal training steps, and compares them.",
      "preheat-lm");
  app.footer(examples);
  app.get_formatter()->column_width(26);

  bool quick = false;
  bool full = false;
  bool list = false;
  bool no_report = false;
  preset given{};  // 0 or empty: the preset's
  given.minutes = -1;
  options wanted;
  wanted.out = "results/lm";
  wanted.data = PREHEAT_LM_DIR;
  wanted.threads = int(std::max(1u, std::thread::hardware_concurrency()));

  CLI::Option* const quick_flag =
      app.add_flag("--quick", quick, "few steps and runs: to see that everything works");
  app.add_flag("--full", full, "every method, both ranks; no time limit")->excludes(quick_flag);
  app.add_flag("--list", list, "list the methods and exit");
  app.add_option("--methods", given.methods,
                 "names from --list, or all; default those not marked +")
      ->delimiter(',')
      ->type_name("LIST");
  app.add_option("--ranks", given.ranks, "ranks of the adapters; default 4")
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
      ->check(CLI::Range(4, 1000000));
  app.add_option("--batch", given.batch,
                 fmt::format("definitions in a batch; default {}", reduced_preset.batch))
      ->type_name("N")
      ->check(CLI::Range(1, 100000));
  app.add_option("--validation", given.sizes.validation,
                 fmt::format("validation definitions; default {}", reduced_preset.sizes.validation))
      ->type_name("N")
      ->check(CLI::Range(1, 1000000));
  app.add_option("--test", given.sizes.test,
                 fmt::format("test definitions; default {}", reduced_preset.sizes.test))
      ->type_name("N")
      ->check(CLI::Range(1, 1000000));
  app.add_option("--drift", given.sizes.drift,
                 fmt::format("quotations of the drift; default {}", reduced_preset.sizes.drift))
      ->type_name("N")
      ->check(CLI::Range(1, 1000));
  app.add_option("--minutes", given.minutes,
                 fmt::format("begin no run that would end later; 0: no limit; default {}",
                             reduced_preset.minutes))
      ->type_name("X")
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--out", wanted.out, "where results are kept; default results/lm")
      ->type_name("DIR");
  app.add_option("--data", wanted.data, "folder with model.gguf, wordnet/ and literature")
      ->type_name("DIR");
  app.add_option("--threads", wanted.threads, "runs at a time; default one a processor")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  app.add_flag("--no-report", no_report, "tables only");

  wanted.amount = reduced_preset;
  try {
    app.parse(argc, argv);
    if (list) {
      apps::console::print_methods(all_methods());
      return {};
    }
    wanted.amount = quick ? quick_preset : full ? full_preset : reduced_preset;
    if (!given.methods.empty()) {
      wanted.amount.methods = given.methods;
    }
    choose_methods(wanted, wanted.amount.methods);
  } catch (const CLI::ParseError& error) {
    return {.wanted = {}, .exit_code = app.exit(error) == 0 ? 0 : common::usage_status};
  }

  const auto take = [](auto& value, const auto& of_user, bool is_given) {
    if (is_given) {
      value = of_user;
    }
  };
  take(wanted.amount.ranks, given.ranks, !given.ranks.empty());
  take(wanted.amount.seeds, given.seeds, given.seeds > 0);
  take(wanted.amount.rates, given.rates, !given.rates.empty());
  take(wanted.amount.steps, given.steps, given.steps > 0);
  take(wanted.amount.batch, given.batch, given.batch > 0);
  take(wanted.amount.sizes.validation, given.sizes.validation, app.count("--validation") > 0);
  take(wanted.amount.sizes.test, given.sizes.test, app.count("--test") > 0);
  take(wanted.amount.sizes.drift, given.sizes.drift, app.count("--drift") > 0);
  take(wanted.amount.minutes, given.minutes, given.minutes >= 0);
  apps::console::sort_unique(wanted.amount.rates);
  apps::console::sort_unique(wanted.amount.ranks);
  wanted.training.steps = wanted.amount.steps;
  wanted.training.batch = wanted.amount.batch;
  wanted.training.samples = wanted.amount.samples;
  wanted.report = !no_report;
  return {.wanted = std::move(wanted), .exit_code = 0};
}

}  // namespace studies::lm
