// The command that trains: one run, or a sweep.
#include "run.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include <fmt/format.h>

#include <preheat/files/atomic_folder.hpp>

#include "apps/console/command_line.hpp"
#include "memory.hpp"
#include "one_run.hpp"
#include "rate.hpp"
#include "save.hpp"
#include "sweep.hpp"

namespace apps::finetune {
namespace {

namespace fs = std::filesystem;

preheat::nn::recompute recompute_named(const std::string& name) {
  return name == "blocks"    ? preheat::nn::recompute::blocks
         : name == "nothing" ? preheat::nn::recompute::nothing
                             : preheat::nn::recompute::norms_and_gates;
}

// Refuses what only a causal model has.
void require_for_encoder(const training_options& o) {
  const std::string end = ", and this model is an encoder (BERT), which learns classes";
  const auto require = [&](bool holds, const std::string& what) {
    preheat::require(holds, what + end);
  };
  require(o.data.extension() == ".jsonl" && (o.eval.empty() || o.eval.extension() == ".jsonl"),
          "examples that are not JSONL with text and label are for causal models");
  require(o.gguf.empty(), "--gguf: llama.cpp takes adapters of causal models");
  require(o.storage == preheat::weight_storage::dense,
          "--storage other than f32 is for causal models");
  require(o.recompute == "norms", "--recompute is for causal models");
  require(!o.pack, "--pack puts several texts into a row");
  require(!o.reading.count_all, "--count-all counts tokens of prompts");
  require(o.reading.chat.empty(), "--chat writes conversations");
  require(o.reading.longer != too_long::split,
          "--too-long split makes texts out of one that has one label; cut and drop are possible");
}

std::vector<run_choice> runs_of(const training_options& o, const std::vector<method_entry>& all) {
  std::vector<run_choice> runs;
  for (const std::string& id : o.methods) {
    const method_entry& method =
        *std::find_if(all.begin(), all.end(), [&](const method_entry& e) { return e.id == id; });
    for (const double rate : o.rates) {
      for (int k = 0; k < o.seeds; ++k) {
        runs.push_back({&method, rate, o.seed + std::uint64_t(k)});
      }
    }
  }
  return runs;
}

// Errors: invalid_argument for what does not go together.
void require_outputs(const training_options& o, const std::vector<run_choice>& runs) {
  for (const fs::path& path : {o.out, o.gguf, o.merge}) {
    if (!path.empty()) {
      preheat::files::require_absent(path);
    }
  }
  const bool dense = o.storage == preheat::weight_storage::dense;
  preheat::require(o.merge.empty() || dense, "--merge changes the weights and needs --storage f32");
  preheat::require(!o.eval.empty() || (o.eval_every == 0 && o.patience == 0),
                   "--eval-every and --patience need --eval, whose loss they measure");
  const bool sweep = runs.size() > 1;
  preheat::require(!sweep || !o.eval.empty(),
                   "several methods, rates or seeds need --eval, whose loss chooses");
  preheat::require(!sweep || !o.out.empty(), "several methods, rates or seeds need --out");
  for (const run_choice& run : runs) {
    const bool weights = run.method->outcome == outcome_kind::weights;
    preheat::require(!weights || !sweep, "--method " + run.method->id +
                                             " leaves other weights and no adapter, and is trained "
                                             "alone");
    preheat::require(
        !weights || (o.out.empty() && o.gguf.empty()),
        "--method " + run.method->id +
            " leaves other weights and no adapter: give --merge DIR for the model, and "
            "no --out");
    preheat::require(
        !run.method->changes_base || dense,
        "--storage f32 is what --method " + run.method->id + " needs, which changes the weights");
    preheat::require(weights || !o.out.empty(), "--out, where the adapter goes");
    preheat::require(run.method->fixed_rank || (o.rank_pattern.empty() && o.alpha_pattern.empty()),
                     "--rank-pattern and --alpha-pattern: --method " + run.method->id +
                         " gives the layers their ranks itself");
    preheat::require(
        run.method->id != "dora" && run.method->id != "lora_with_bias" ? true : o.gguf.empty(),
        "--gguf: a GGUF adapter is plain LoRA, and --method " + run.method->id +
            " has magnitudes or biases");
  }
}

// Says what the runs will take, each alone, and refuses what is too much.
void say_memory(const material& m, const std::vector<run_choice>& runs) {
  const double held = resident_memory();
  memory_statement most;
  for (const run_choice& run : runs) {
    const memory_statement one = memory_of(m, *run.method);
    most = one.all() > most.all() ? one : most;
  }
  fmt::print("{}\n", most.describe());
  require_fits(most, m.o, held);
}

// --rate auto: one rate a method.
void choose_rates(material& m, std::vector<run_choice>& runs,
                  const std::vector<method_entry>& all) {
  const auto lora =
      std::find_if(all.begin(), all.end(), [](const method_entry& e) { return e.id == "lora"; });
  const double of_lora = curvature_of_start(m, *lora);
  const method_entry* method = nullptr;
  double rate = 0;
  for (run_choice& run : runs) {
    if (run.method != method) {
      method = run.method;
      rate = suggested_rate(method == &*lora ? of_lora : curvature_of_start(m, *method), of_lora);
    }
    run.rate = rate;
  }
}

// What comes of the adapter besides its folder.
void save_more(material& m, const any_adapter& adapter) {
  if (!m.processes.first()) {
    return;
  }
  if (!m.o.gguf.empty()) {
    save_gguf(adapter, m.model, m.o.gguf);
    fmt::print("GGUF adapter: {}\n", m.o.gguf.string());
  }
  if (!m.o.merge.empty()) {
    merge_adapter(adapter, m.model.net);
    save_model(m.model.net, m.model, m.o.merge);
    fmt::print("merged model: {}\n", m.o.merge.string());
  }
}

fs::path beside(const fs::path& path) {
  return (path.has_filename() ? path : path.parent_path()).string() + ".run";
}

void train_alone(material& m, const run_choice& run) {
  const training_options& o = m.o;
  const run_result result = make_run(m, run, beside(o.out.empty() ? o.merge : o.out), o.out);
  const trained& outcome = result.outcome;
  preheat::require(!outcome.nothing_finite,
                   "the loss became infinite or NaN before there was a checkpoint, and nothing is "
                   "saved; a smaller --rate may help. Steps done",
                   outcome.losses.size(), m.steps);
  if (outcome.adapter) {
    fmt::print("adapter: {}\n", o.out.string());
    save_more(m, *outcome.adapter);
  } else if (m.processes.first()) {
    save_model(*result.changed, m.model, o.merge);
    fmt::print("merged model: {}\n", o.merge.string());
  }
  if (!outcome.losses.empty()) {
    fmt::print("training loss {:.4f} to {:.4f}; ", outcome.losses.front(), outcome.losses.back());
  }
  if (!m.eval.empty()) {
    fmt::print("held-out loss {:.4f} to {:.4f}; ", m.loss_before, result.eval_loss);
    if (m.model.net.classifies()) {
      fmt::print("held-out accuracy {:.4f} to {:.4f}; ", m.accuracy_before, result.eval_accuracy);
    }
  }
  fmt::print("{}\n", preheat::to_string(outcome.status));
  if (outcome.status == preheat::fit_status::non_finite) {
    throw std::runtime_error(fmt::format(
        "the loss became infinite or NaN after step {}; saved is the adapter of step {}",
        outcome.losses.size(), outcome.steps));
  }
}

}  // namespace

int finetune(const training_options& o, const preheat::process_group& processes) {
  const std::vector<method_entry> all = all_methods();
  std::vector<run_choice> runs = runs_of(o, all);
  require_outputs(o, runs);
  const bool spread = runs.size() > 1;
  preheat::require(spread || o.batch >= processes.size(), "processes <= rows of a --batch",
                   processes.size(), o.batch);
  computer here(o.threads, processes, !spread);
  const bool encoder = is_encoder(o.model);
  if (encoder) {
    require_for_encoder(o);
  } else {
    preheat::require(o.head_rate == 0,
                     "--head-rate is for an encoder (BERT): this model has no layer for classes");
  }
  require_weights_fit(o, encoder);
  base_model model = read_model(here.backend(), o.model, o.storage);
  require_can_save(model, o.gguf, o.merge);
  model.recompute = recompute_named(o.recompute);
  if (!encoder) {
    model.net.as_decoder().set_recompute(model.recompute);
  }
  fmt::print("{}\n", model.describe());
  if (encoder && model.classes.names.empty()) {
    model.classes = find_classes(o.data);
  }
  material m = read_material(o, model);
  m.processes = here.processes();
  m.sweepers = spread ? processes : preheat::process_group();
  say_memory(m, runs);
  if (o.auto_rate) {
    choose_rates(m, runs, all);
  }
  fmt::print("{}, rank {}, {} steps of {} rows, rate {}; {}\n", fmt::join(o.methods, " "), o.rank,
             m.steps, o.batch * o.accumulate, o.auto_rate ? "auto" : console::joined(o.rates, " "),
             description(here.backend()));
  if (!m.eval.empty()) {
    start_head(m, model.net, o.seed);
    m.loss_before = loss_with(any_adapter{}, model.net, m.eval_batch);
    fmt::print("held-out loss before: {:.4f}\n", m.loss_before);
    if (encoder) {
      m.accuracy_before = accuracy_with(any_adapter{}, model.net, m.eval_batch);
    }
  }
  std::fflush(stdout);
  if (runs.size() == 1) {
    train_alone(m, runs.front());
  } else {
    const fs::path best = sweep(m, runs, beside(o.out));
    if (processes.first()) {
      save_more(m, load_adapter(best, model.net));
      finish_sweep(best, beside(o.out), o.out);
    }
  }
  return 0;
}

}  // namespace apps::finetune
