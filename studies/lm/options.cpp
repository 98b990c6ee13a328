#include "options.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "backend.hpp"
#include "studies/common/comparison_options.hpp"
#include "variants.hpp"

#if !defined(PREHEAT_LM_DIR)
#error "define PREHEAT_LM_DIR: where ./run lm puts the model and the texts, as a string"
#endif

namespace studies::lm {

const preset reduced_preset = {.name = "reduced",
                               .ranks = {4},
                               .methods = {"base", "lora", "pissa", "hrp", "lora_ga"},
                               .seeds = 3,
                               .rates = {5e-4, 1e-3, 2e-3, 4e-3},
                               .most_added_rates = 1,
                               .steps = 32,
                               .batch = 8,
                               .samples = 3,
                               .sizes = {.validation = 48, .test = 128, .drift = 32},
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

constexpr const char* help_examples = R"(Examples:
  preheat-lm                         the reduced grid, within 30 minutes on 2 cores
  preheat-lm --quick --out /tmp/look
  preheat-lm --methods base,lora,pissa,hrp --ranks 4,16 --steps 200 --minutes 0
  preheat-lm --full                  every method and both ranks: days
  preheat-lm --methods lora,hrp --preheat-multiples 1,16,64 --preheat-steps 1,4 --task translation
  preheat-lm --report DIR/runs.jsonl MORE.jsonl    tables of kept runs, as docs/evidence.md has them
  mpirun -n 8 preheat-lm --full      the same runs, spread over processes
  preheat-lm --device cuda --methods all --share 1/4 --out a       a quarter of the methods, on a GPU

The same command gives the same numbers, however many threads it uses. Every finished run is kept in
DIR/runs.jsonl: the same command goes on where it was stopped, and a command that asks for more runs
does only what is missing. Ctrl-C ends after the runs under way, a second one at once. A run takes
about 1 GB of memory beside the model's 0.6. On a GPU a process does one run at a time, and several
processes may share the GPU. DIR/report.html has tables and figures, and definitions
that the models wrote; DIR/summary.csv the tables.)";

// Part k of n: every n-th method from the k-th on.
struct method_share {
  std::size_t part = 1;
  std::size_t of = 1;
};

method_share share_from(const std::string& text) {
  const auto number = [](std::string_view digits) {
    const bool good = !digits.empty() && digits.size() <= 4 &&
                      digits.find_first_not_of("0123456789") == std::string_view::npos;
    return good ? std::size_t(std::stoi(std::string(digits))) : std::size_t(0);
  };
  const std::size_t slash = std::min(text.find('/'), text.size());
  const std::string_view all = text;
  const method_share s{number(all.substr(0, slash)),
                       number(all.substr(std::min(slash + 1, text.size())))};
  if (s.part < 1 || s.part > s.of) {
    throw CLI::ValidationError("--share", "'" + text + "' is not K/N with 1 <= K <= N <= 9999");
  }
  return s;
}

void take_share(std::vector<method_entry>& methods, method_share s) {
  std::vector<method_entry> mine;
  for (std::size_t i = s.part - 1; i < methods.size(); i += s.of) {
    mine.push_back(std::move(methods[i]));
  }
  if (mine.empty()) {
    throw CLI::ValidationError("--share",
                               "there are only " + std::to_string(methods.size()) + " methods");
  }
  methods = std::move(mine);
}

}  // namespace

parsed parse(int argc, const char* const* argv) {
  options wanted;
  wanted.out = "results/lm";
  wanted.data = PREHEAT_LM_DIR;
  common::comparison_line<preset> line(
      {.program = "preheat-lm",
       .description = "Teaches a pretrained language model to define words, with the methods of "
                      "preheat at equal rank and equal training steps, and compares them.",
       .footer = help_examples,
       .examples = "definitions",
       .quick = "few steps and runs: to see that everything works",
       .full = "every method, both ranks; no time limit",
       .data = "folder with model.gguf, literature and the task's files",
       .methods = fmt::format("{}", fmt::join(reduced_preset.methods, ","))},
      reduced_preset, wanted);
  preset& given = line.given();
  CLI::Option* const drift = line.number("--drift", given.sizes.drift, reduced_preset.sizes.drift,
                                         "quotations of the drift; ")
                                 ->check(CLI::Range(1, 1000));
  std::string taught = wanted.taught->name;
  std::vector<std::string> names_of_tasks;
  for (const task& t : tasks) {
    names_of_tasks.push_back(t.name);
  }
  line.app
      .add_option(
          "--task", taught,
          fmt::format("what is taught: {}; default {}", fmt::join(names_of_tasks, ", "), taught))
      ->type_name("NAME")
      ->check(CLI::IsMember(names_of_tasks));
  line.number("--scaling", wanted.training.scaling, wanted.training.scaling, "s of s·B·A; ")
      ->check(CLI::Range(1e-3, 1e3));
  variant_lists variants;
  const auto list_option = [&](const char* name, auto& to, const char* what) {
    return line.app.add_option(name, to, what)->delimiter(',')->type_name("LIST");
  };
  list_option("--row-norms", variants.row_norms,
              "norms of every direction of the starts that have one; default each its own")
      ->check(CLI::Range(1e-3, 1e3));
  list_option("--preheat-multiples", variants.preheat_multiples,
              "ranks of preheating, over the rank; default each its own")
      ->check(CLI::Range(1, 1024));
  list_option("--preheat-steps", variants.preheat_steps,
              "steps of preheating; default each its own")
      ->check(CLI::Range(1, 1000000));
  line.app.add_flag("--why", wanted.training.why,
                    "also measure the curvature of every start, what full fine-tuning changes "
                    "in its directions, and its preheating's spectrum: twice the time or more");
  line.number("--samples", given.samples, reduced_preset.samples, "definitions that a run writes; ")
      ->check(CLI::Range(0, 1000));
  std::string device = computes_on_gpu ? "cuda" : "cpu";
  line.app.add_option("--device", device, "cpu or cuda; default " + device)
      ->type_name("NAME")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  std::string share = "1/1";
  line.app
      .add_option("--share", share,
                  "of the methods and variants, in their order, only every N-th from the K-th on: "
                  "for several "
                  "commands with a folder each, whose runs --report puts together")
      ->type_name("K/N");
  line.app.add_flag_callback(
      "--no-fingerprint", [&] { wanted.fingerprints = false; },
      "do not train each method for some steps to tell its runs from those of another build: kept "
      "runs are taken as they are");
  line.app
      .add_option("--report", wanted.report_of,
                  "only print tables of the runs in these files, as Markdown")
      ->type_name("FILE...")
      ->check(CLI::ExistingFile);
  line.app.add_option("--figures", wanted.figures, "with --report: also draw its figures there")
      ->type_name("DIR")
      ->needs("--report");
  const auto list = [] {
    std::vector<method_entry> known = all_methods();
    for (method_entry& m : known) {
      m.by_default = common::is_wanted(m, reduced_preset.methods);
    }
    apps::console::print_methods(known);
  };
  const auto choose = [&](const std::vector<std::string>& names) {
    const preset& used = line.preset_of(reduced_preset, quick_preset, full_preset);
    common::choose_methods(all_methods(), names.empty() ? used.methods : names, false,
                           wanted.methods, wanted.left_out);
    wanted.methods = with_variants(wanted.methods, variants);
    take_share(wanted.methods, share_from(share));
    if ((device == "cuda") != computes_on_gpu) {
      throw CLI::ValidationError(
          "--device", computes_on_gpu ? "preheat-lm-cuda computes on a GPU: give --device cuda"
                                      : "preheat-lm computes on a CPU");
    }
    if (computes_on_gpu && line.app.count("--threads") > 0 && wanted.threads > 1) {
      throw CLI::ValidationError("--threads", "a process does one run at a time on a GPU");
    }
  };
  if (const auto status = line.parse(argc, argv, list, choose)) {
    return {.wanted = {}, .exit_code = *status};
  }
  wanted.amount = line.amount(reduced_preset, quick_preset, full_preset);
  line.take(wanted.amount.sizes.drift, given.sizes.drift, drift->count() > 0);
  line.take(wanted.amount.samples, given.samples, line.app.count("--samples") > 0);
  wanted.threads = computes_on_gpu ? 1 : wanted.threads;
  wanted.taught =
      std::find_if(tasks.begin(), tasks.end(), [&](const task& t) { return t.name == taught; });
  wanted.training.steps = wanted.amount.steps;
  wanted.training.batch = wanted.amount.batch;
  wanted.training.samples = wanted.amount.samples;
  wanted.report = line.report();
  return {.wanted = std::move(wanted), .exit_code = 0};
}

}  // namespace studies::lm
