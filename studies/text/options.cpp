#include "options.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "studies/common/comparison_options.hpp"

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

}  // namespace

parsed parse(int argc, const char* const* argv) {
  options wanted;
  wanted.out = "results/text";
  wanted.data = PREHEAT_TEXT_DIR;
  common::comparison_line<preset> line(
      {.program = "preheat-text",
       .description = "Adapts a pretrained sentence encoder to the sentiment of sentences with "
                      "every method of preheat, at equal rank and equal training steps, and "
                      "compares them.",
       .footer = examples,
       .examples = "sentences",
       .quick = "few steps, seeds and rates: to see that everything works",
       .full = "every method, set and rank; no time limit",
       .data = "folder with minilm/ and sentiment/",
       .least_steps = 10,
       .least_examples = 2},
      reduced_preset, wanted);
  preset& given = line.given();
  std::set<std::string> set_names;
  for (const set_description& s : all_sets) {
    set_names.insert(s.name);
  }
  line.app.add_option("--sets", given.sets, "movie, tweets, amazon; default movie")
      ->delimiter(',')
      ->type_name("LIST")
      ->check(CLI::IsMember(set_names));
  line.number("--head-rate", wanted.training.head_rate, training_settings().head_rate,
              "learning rate of the head, for every method; ")
      ->type_name("X")
      ->check(CLI::Range(0.0, 1e3));
  const auto list = [] { apps::console::print_methods(all_methods()); };
  const auto choose = [&](const std::vector<std::string>& names) {
    const preset& used = line.preset_of(reduced_preset, quick_preset, full_preset);
    common::choose_methods(all_methods(), names, names.empty() && used.all_methods, wanted.methods,
                           wanted.left_out);
  };
  if (const auto status = line.parse(argc, argv, list, choose)) {
    return {.wanted = {}, .exit_code = *status};
  }
  wanted.amount = line.amount(reduced_preset, quick_preset, full_preset);
  line.take(wanted.amount.sets, given.sets, !given.sets.empty());
  for (const set_description& s : all_sets) {
    const auto& chosen = wanted.amount.sets;
    if (std::count(chosen.begin(), chosen.end(), s.name) > 0) {
      wanted.sets.push_back(&s);
    }
  }
  wanted.training.steps = wanted.amount.steps;
  wanted.training.batch = wanted.amount.batch;
  wanted.training.evaluations = wanted.amount.evaluations;
  wanted.report = line.report();
  return {.wanted = std::move(wanted), .exit_code = 0};
}

}  // namespace studies::text
