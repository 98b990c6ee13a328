#include "options.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <string_view>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "apps/console/command_line.hpp"
#include "methods.hpp"
#include "studies/common/method_options.hpp"

namespace apps::finetune {
namespace {

constexpr const char* examples = R"(Examples:
  preheat-finetune SmolLM2-135M --data train.jsonl --method hrp --rank 16 --out adapter
  preheat-finetune model.gguf --data train.jsonl --eval held.jsonl --method pissa --rates 1e-4,3e-4,1e-3 --seeds 3 --out best
  preheat-finetune generate SmolLM2-135M --adapter adapter --prompt 'energy:'

A line of train.jsonl is {"prompt": …, "completion": …}, {"messages": […]} or {"text": …}; for an encoder (BERT), which
learns classes, {"text": …, "label": …}. While it trains, OUT.run has a
checkpoint and the log; the same command goes on from there, with the same result as if it had never stopped. OUT appears
when it is whole: a folder that PEFT loads, with a README and the log.)";

template <class T>
CLI::Option* add(CLI::App& app, const char* name, T& value, const char* text, const char* type) {
  return app.add_option(name, value, text)->type_name(type);
}

// A number from `least` to `most`; CLI::Range takes NaN for one.
CLI::Validator within(double least, double most) {
  const auto fault = [=](std::string& word) {
    double x = 0;
    const bool is_number = CLI::detail::lexical_cast(word, x);
    return is_number && x >= least && x <= most
               ? std::string()
               : fmt::format("'{}' is no number from {} to {}", word, least, most);
  };
  return CLI::Validator(fault, fmt::format("FLOAT in [{} - {}]", least, most));
}

void add_storage(CLI::App& app, preheat::weight_storage& storage, const char* group) {
  using preheat::weight_storage;
  const std::map<std::string, weight_storage> types = {{"f32", weight_storage::dense},
                                                       {"bf16", weight_storage::bf16},
                                                       {"as-stored", weight_storage::as_stored},
                                                       {"nf4", weight_storage::nf4}};
  add(app, "--storage", storage, "what the frozen weights are kept in; default f32",
      "f32|bf16|as-stored|nf4")
      ->transform(CLI::CheckedTransformer(types).description(""))
      ->group(group);
}

void add_device(CLI::App& app, parsed& place, const char* group) {
  const std::map<std::string, bool> devices = {{"cpu", false}, {"cuda", true}};
  add(app, "--device", place.on_gpu, "where it computes; default cpu", "cpu|cuda")
      ->transform(CLI::CheckedTransformer(devices).description(""))
      ->group(group);
  app.add_flag("--bf16", place.in_bf16,
               "activations and their gradients in bfloat16, with --device cuda")
      ->group(group);
}

parsed failed(const CLI::App& app, const CLI::ParseError& error) {
  return {.training = {}, .generating = {}, .exit_code = app.exit(error) == 0 ? 0 : failure_status};
}

void set_failure_message(CLI::App& app) {
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return fmt::format("preheat-finetune: {}; --help has examples\n", error.what());
  });
}

parsed parse_generate(int argc, const char* const* argv) {
  generating_options o;
  CLI::App app("Writes text with a model, without and with an adapter.",
               "preheat-finetune generate");
  set_failure_message(app);
  app.get_formatter()->column_width(30);
  app.add_option("model", o.model, "a Hugging Face folder or a GGUF file")->required();
  add(app, "--adapter", o.adapter, "a PEFT folder or a GGUF adapter; default the model alone",
      "DIR");
  add(app, "--prompt", o.prompts, "what to go on from; several are answered in turn", "TEXT")
      ->required();
  app.add_flag("--messages", o.chat, "a prompt is what a user says, in the model's chat template");
  add(app, "--chat", o.chat_form, "this form of chat instead of the model's template",
      "chatml|llama3|zephyr")
      ->check(CLI::IsMember({"chatml", "llama3", "zephyr"}).description(""));
  add(app, "--max-tokens", o.max_tokens, "default 64", "N")->check(CLI::Range(1, 1000000));
  add(app, "--temperature", o.temperature, "default 0: the most probable token", "T")
      ->check(within(0.0, 100.0));
  add(app, "--top-p", o.top_p, "default 1", "P")->check(within(1e-6, 1.0));
  add(app, "--seed", o.seed, "of the sampling; default 0", "N");
  add_storage(app, o.storage, "OPTIONS");
  parsed result;
  add_device(app, result, "OPTIONS");
  add(app, "--threads", o.threads, "default one a processor", "N")->check(CLI::Range(1, 1024));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return failed(app, error);
  }
  o.chat = o.chat || !o.chat_form.empty();
  result.generating = std::move(o);
  return result;
}

// --rates: numbers, or the word auto alone.
void read_rates(const std::vector<std::string>& words, training_options& o) {
  o.auto_rate = words == std::vector<std::string>{"auto"};
  if (o.auto_rate) {
    return;
  }
  o.rates.clear();
  for (const std::string& word : words) {
    double rate = 0;
    const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), rate);
    const bool is_number = problem == std::errc() && end == word.data() + word.size();
    if (!is_number || !(rate >= 1e-12 && rate <= 1e3)) {
      throw CLI::ValidationError(
          "--rate", "a rate is a number from 1e-12 to 1000, or auto alone, not '" + word + "'");
    }
    o.rates.push_back(rate);
  }
}

void describe_training(CLI::App& app, training_options& o, parsed& place) {
  app.add_option("model", o.model, "a Hugging Face folder or a GGUF file");
  add(app, "--data", o.data, "examples: .jsonl, .txt or .safetensors", "FILE")->group("Data");
  add(app, "--eval", o.eval, "held-out examples: their loss is measured, and chooses", "FILE")
      ->group("Data");
  add(app, "--seq", o.reading.seq, "most tokens of an example; default 512", "N")
      ->check(CLI::Range(2, 1 << 20))
      ->group("Data");
  const std::map<std::string, too_long> ways = {
      {"cut", too_long::cut}, {"drop", too_long::drop}, {"split", too_long::split}};
  add(app, "--too-long", o.reading.longer, "what is done with longer ones; default cut",
      "cut|drop|split")
      ->transform(CLI::CheckedTransformer(ways).description(""))
      ->group("Data");
  app.add_flag("--count-all", o.reading.count_all, "prompts count in the loss too")->group("Data");
  add(app, "--chat", o.reading.chat, "this form of chat instead of the model's template",
      "chatml|llama3|zephyr")
      ->check(CLI::IsMember({"chatml", "llama3", "zephyr"}).description(""))
      ->group("Data");
  app.add_flag("--pack", o.pack, "rows of several examples that together have --seq tokens")
      ->group("Data");

  add(app, "--method,--methods", o.methods, "names from --list; default lora", "LIST")
      ->delimiter(',')
      ->group("Method");
  add(app, "--rank", o.rank, "default 16", "R")->check(CLI::Range(1, 1 << 16))->group("Method");
  add(app, "--alpha", o.alpha, "lora_alpha; default twice the rank", "A")
      ->check(within(0.0, 1e6))
      ->group("Method");
  add(app, "--rank-pattern", o.rank_pattern,
      "other ranks of some modules, as in PEFT: '{\"q_proj\": 32}'", "JSON")
      ->group("Method");
  add(app, "--alpha-pattern", o.alpha_pattern, "likewise lora_alpha", "JSON")->group("Method");
  app.add_flag("--rslora", o.rslora, "the scale is alpha/√rank")->group("Method");
  add(app, "--dropout", o.dropout, "lora_dropout; default 0", "P")
      ->check(within(0.0, 0.999))
      ->group("Method");
  add(app, "--target-modules", o.targets,
      "names, ends of names or patterns with *; default all-linear, all but the head", "LIST")
      ->delimiter(',')
      ->group("Method");

  app.add_option_function<std::vector<std::string>>(
         "--rate,--rates", [&o](const std::vector<std::string>& words) { read_rates(words, o); },
         "learning rates; default 2e-4; auto: a guess by the curvature of the start")
      ->type_name("LIST")
      ->delimiter(',')
      ->group("Training");
  add(app, "--head-rate", o.head_rate,
      "of an encoder's layer for classes; default the rate of the method", "X")
      ->check(within(1e-12, 1e3))
      ->group("Training");
  add(app, "--seeds", o.seeds, "runs of each method and rate; default 1", "N")
      ->check(CLI::Range(1, 1000))
      ->group("Training");
  add(app, "--seed", o.seed, "of the first run; default 0", "N")->group("Training");
  CLI::Option* const epochs =
      add(app, "--epochs", o.epochs, "default 1", "X")->check(within(1e-3, 1e6))->group("Training");
  add(app, "--steps", o.steps, "optimizer steps, everything charged", "N")
      ->check(CLI::Range(1, 100000000))
      ->excludes(epochs)
      ->group("Training");
  add(app, "--batch", o.batch, "rows in a batch; default 8", "N")
      ->check(CLI::Range(1, 1 << 20))
      ->group("Training");
  add(app, "--accumulate", o.accumulate, "batches in a step; default 1", "N")
      ->check(CLI::Range(1, 1 << 20))
      ->group("Training");
  add(app, "--schedule", o.schedule, "of the rate; default linear", "constant|linear|cosine")
      ->check(CLI::IsMember({"constant", "linear", "cosine"}).description(""))
      ->group("Training");
  add(app, "--warmup", o.warmup, "part of the steps in which the rate rises; default 0.03", "X")
      ->check(within(0.0, 1.0))
      ->group("Training");
  add(app, "--clip", o.clip, "largest norm of the gradient, 0: any; default 1", "X")
      ->check(within(0.0, 1e9))
      ->group("Training");
  add(app, "--eval-every", o.eval_every, "steps between evaluations; default a tenth of all", "N")
      ->check(CLI::Range(1, 100000000))
      ->group("Training");
  add(app, "--patience", o.patience,
      "end after so many evaluations without a better one; the best one's adapter is saved", "N")
      ->check(CLI::Range(1, 100000000))
      ->group("Training");
  add(app, "--checkpoint-every", o.checkpoint_every, "steps; 0: only when stopped; default 50", "N")
      ->check(CLI::Range(0, 100000000))
      ->group("Training");
  add(app, "--recompute", o.recompute,
      "what the backward pass computes again to save memory; default norms", "nothing|norms|blocks")
      ->check(CLI::IsMember({"nothing", "norms", "blocks"}).description(""))
      ->group("Training");

  add_storage(app, o.storage, "Machine");
  add(app, "--memory", o.memory,
      "most that it may take, as 12GB; default what the machine has to give. What does not fit is "
      "refused before it begins",
      "SIZE")
      ->transform(CLI::AsSizeValue(true))
      ->transform(CLI::Validator(  // the last one comes first
          [](std::string& size) {
            return std::string(size.starts_with('-') ? "a size is a number of bytes, or one as 12GB"
                                                     : "");
          },
          ""))
      ->group("Machine");
  add_device(app, place, "Machine");
  add(app, "--threads", o.threads, "default one a processor", "N")
      ->check(CLI::Range(1, 1024))
      ->group("Machine");

  add(app, "--out", o.out, "where the PEFT folder goes", "DIR")->group("Output");
  add(app, "--gguf", o.gguf, "the adapter for llama.cpp too", "FILE")->group("Output");
  app.add_flag("--curves", o.curves, "pictures of the losses too, by gnuplot")->group("Output");
  add(app, "--merge", o.merge, "the model with the adapter in it too, as a folder", "DIR")
      ->group("Output");
}

void require_methods(const std::vector<std::string>& names) {
  const std::vector<method_entry> known = all_methods();
  if (studies::common::asks_for_all(known, names)) {
    throw CLI::ValidationError("--methods", "methods are named one by one, from --list");
  }
}

void require_paths(const training_options& o) {
  const auto need = [](bool there, const char* option) {
    if (!there) {
      throw CLI::RequiredError(option);
    }
  };
  need(!o.model.empty(), "model");
  need(!o.data.empty(), "--data");
  need(!o.out.empty() || !o.merge.empty(), "--out");
  if (o.curves && o.out.empty()) {
    throw CLI::ValidationError("--curves", "the pictures go into the folder of --out");
  }
}

}  // namespace

parsed parse(int argc, const char* const* argv) {
  if (argc > 1 && std::string_view(argv[1]) == "generate") {
    return parse_generate(argc - 1, argv + 1);
  }
  training_options o;
  for (int i = 0; i < argc; ++i) {
    const std::string_view word = i == 0 ? "preheat-finetune" : argv[i];
    const bool plain = word.find_first_of(" '\"\\$*|&;<>()") == std::string_view::npos;
    o.command += (i == 0 ? "" : " ") + (plain ? std::string(word) : fmt::format("'{}'", word));
  }
  CLI::App app(
      "Trains a low-rank adapter of a causal language model, or of BERT, on a file of examples, by "
      "any method "
      "of preheat, and saves it for PEFT and llama.cpp.",
      "preheat-finetune");
  app.footer(examples);
  set_failure_message(app);
  app.get_formatter()->column_width(34);
  bool list = false;
  app.add_flag("--list", list, "list the methods and exit");
  parsed result;
  describe_training(app, o, result);
  try {
    app.parse(argc, argv);
    if (list) {
      console::print_methods(all_methods());
      return {};
    }
    require_paths(o);
    require_methods(o.methods);
  } catch (const CLI::ParseError& error) {
    return failed(app, error);
  }
  console::sort_unique(o.rates);
  result.training = std::move(o);
  return result;
}

}  // namespace apps::finetune
