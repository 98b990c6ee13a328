// preheat-adapter: Hugging Face PEFT adapters from the terminal. High-rank preheating between two runs,
// resizing and adding up, starts from the base's weights, conversion, merging, spectra.
//
//   preheat-adapter hrp warm --rank 8 --out start
//   preheat-adapter --help
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "commands.hpp"

namespace {

using namespace apps::adapter;

constexpr int failure_status = 2;  // a mistaken command line, bad input, an interruption

constexpr const char* examples = R"(Examples:
  preheat-adapter hrp warm --rank 8 --out start          preheated at rank 128, go on at rank 8
  preheat-adapter reduce big --rank 16 --out small       the best rank-16 adapter
  preheat-adapter reduce big --energy 0.99 --out small   ranks per layer, as rank_pattern
  preheat-adapter reduce a b --weights 0.7 0.3 --rank 16 --out both
  preheat-adapter convert trained --initial start --out plain    PiSSA, OLoRA, … to plain LoRA
  preheat-adapter merge adapter --base llama-7b --out merged.safetensors
  preheat-adapter inspect warm start --plot spectra.svg
  preheat-adapter COMMAND --help

DIR is a PEFT folder (adapter_config.json, adapter_model.safetensors) or a kohya .safetensors file; FILE of a base
is a .safetensors file, an index of shards, or a model's folder. Nothing is overwritten, and what is written
appears whole or not at all. Exit status: 0, or 2 with one line that says what is wrong.)";

// What all commands share.
void add_common(CLI::App& command, common_options& o, bool writes) {
  static const std::map<std::string, safetensors::dtype> types = {
      {"F64", safetensors::dtype::F64},
      {"F32", safetensors::dtype::F32},
      {"F16", safetensors::dtype::F16},
      {"BF16", safetensors::dtype::BF16}};
  if (writes) {
    command.add_option("--out", o.out, "what is written; it must not exist")->required();
    command.add_option("--dtype", o.stored, "of what is written; default the input's")
        ->type_name("F64|F32|F16|BF16")
        ->transform(CLI::CheckedTransformer(types, CLI::ignore_case).description(""));
    command.add_flag("--dry-run", o.dry_run, "only say what would be read and written");
  }
  o.threads = int(std::max(1u, std::thread::hardware_concurrency()));
  command.add_option("--threads", o.threads, "layers at a time; default one a processor")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  command.add_option("--seed", o.seed, "of random directions, where some are needed")
      ->type_name("N");
  command.add_option("--json", o.json, "a report, layer by layer, as JSON")->type_name("FILE");
  command.get_formatter()->column_width(30);
}

template <class Kind>
CLI::Option* add_choice(CLI::App& command, const std::string& name, Kind& value,
                        const std::map<std::string, Kind>& choices, const std::string& text) {
  std::string names;
  for (const auto& choice : choices) {
    names += (names.empty() ? "" : "|") + choice.first;
  }
  return command.add_option(name, value, text)
      ->type_name(names)
      ->transform(CLI::CheckedTransformer(choices).description(""));
}

// The command line; what is to be done is left in `run`.
void describe_commands(CLI::App& app, std::function<void()>& run) {
  {
    static hrp_options o;
    CLI::App& c = *app.add_subcommand("hrp", "a preheated adapter in, a low-rank start out (HRP)");
    c.add_option("adapter", o.adapter, "the adapter after preheating")
        ->required()
        ->type_name("DIR");
    c.add_option("--rank", o.rank, "of the start")->required()->type_name("R");
    add_choice(
        c, "--side", o.side,
        std::map<std::string, preheat::singular_side>{{"auto", preheat::singular_side::automatic},
                                                      {"left", preheat::singular_side::left},
                                                      {"right", preheat::singular_side::right}},
        "which factor gets the directions: right A, left B");
    c.add_option("--initial", o.initial,
                 "the adapter before preheating: shows which factor was trained")
        ->type_name("DIR0");
    c.add_option("--row-norm", o.row_norm, "length of the directions; default 1")->type_name("C");
    add_common(c, o, true);
    c.callback([&run] { run = [] { hrp(o); }; });
  }
  {
    static reduce_options o;
    using kind = reduce_options::kind;
    CLI::App& c = *app.add_subcommand(
        "reduce", "the best adapter of a lower rank for one or a sum of several");
    c.add_option("adapters", o.adapters, "one adapter or several")->required()->type_name("DIR");
    c.add_option("--weights", o.weights, "one for each adapter; default 1")->type_name("W");
    c.add_option("--rank", o.rank, "of every layer, or the most with --energy and --ratio")
        ->type_name("R");
    c.add_option("--energy", o.energy, "keep this part of each layer's ‖ΔW‖²")->type_name("E");
    c.add_option("--ratio", o.ratio, "keep singular values of at least σ₁/X")->type_name("X");
    add_choice(c, "--type", o.type,
               std::map<std::string, kind>{
                   {"svd", kind::svd}, {"linear", kind::linear}, {"cat", kind::cat}},
               "as PEFT's combination_type; default svd");
    add_common(c, o, true);
    c.callback([&run] { run = [] { reduce(o); }; });
  }
  {
    static init_options o;
    using kind = init_options::kind;
    CLI::App& c = *app.add_subcommand("init", "a start from the weights of a base");
    add_choice(c, "kind", o.type,
               std::map<std::string, kind>{{"pissa", kind::pissa},
                                           {"milora", kind::milora},
                                           {"olora", kind::olora},
                                           {"orthogonal", kind::orthogonal}},
               "which start")
        ->required();
    c.add_option("--base", o.base, "the model")->required()->type_name("FILE");
    c.add_option("--rank", o.rank, "of every layer")->required()->type_name("R");
    c.add_option("--targets", o.targets, "matches the whole name of the modules, '.*[qv]_proj'")
        ->required()
        ->type_name("REGEX");
    c.add_option("--residual", o.residual, "where the base without the start's product goes")
        ->type_name("FILE");
    c.add_option("--alpha", o.alpha, "lora_alpha; default the rank")->type_name("A");
    c.add_flag("--rslora", o.rslora, "the scale is α/√r");
    c.add_flag("--exact", o.exact, "pissa by an exact SVD (always, without --residual)");
    add_common(c, o, true);
    c.callback([&run] { run = [] { init(o); }; });
  }
  {
    static convert_options o;
    CLI::App& c = *app.add_subcommand(
        "convert", "an adapter on a residual base (PiSSA, OLoRA, …) as plain LoRA");
    c.add_option("adapter", o.adapter, "the trained adapter")->required()->type_name("DIR");
    c.add_option("--initial", o.initial, "the adapter before training")
        ->required()
        ->type_name("DIR0");
    c.add_option("--rank", o.rank, "recompress; default r + r₀, exactly")->type_name("R");
    add_common(c, o, true);
    c.callback([&run] { run = [] { convert(o); }; });
  }
  {
    static merge_options o;
    CLI::App& c = *app.add_subcommand("merge", "the base with the adapter in it");
    c.add_option("adapter", o.adapter, "the adapter")->required()->type_name("DIR");
    c.add_option("--base", o.base, "the model")->required()->type_name("FILE");
    add_common(c, o, true);
    c.callback([&run] { run = [] { merge(o); }; });
  }
  {
    static inspect_options o;
    CLI::App& c =
        *app.add_subcommand("inspect", "spectra and effective ranks; of two adapters, the overlap");
    c.add_option("adapter", o.adapter, "the adapter")->required()->type_name("DIR");
    c.add_option("other", o.other, "another, to compare with")->type_name("DIR2");
    c.add_option("--plot", o.plot, "spectra and a map of the layers, as SVG and PNG")
        ->type_name("FILE");
    add_common(c, o, false);
    c.callback([&run] { run = [] { inspect(o); }; });
  }
  {
    static generate_options o;
    CLI::App& c =
        *app.add_subcommand("generate", "a random adapter of a model's shapes, to measure with");
    c.group("");  // not in the help
    c.add_option("--shape", o.shape);
    c.add_option("--rank", o.rank);
    add_common(c, o, true);
    c.callback([&run] { run = [] { generate(o); }; });
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Hugging Face PEFT adapters: high-rank preheating, resizing, conversion, merging, spectra.",
      "preheat-adapter");
  app.footer(examples);
  app.require_subcommand(1);
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return fmt::format("preheat-adapter: {}; --help has examples\n", error.what());
  });
  std::function<void()> run;
  describe_commands(app, run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : failure_status;
  }
  apps::console::stop_on_signals();
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is then an error like a full disk
  try {
    run();
    return 0;
  } catch (const std::exception& error) {
    std::string_view problem = error.what();
    constexpr std::string_view library = "preheat: ";
    problem.remove_prefix(problem.starts_with(library) ? library.size() : 0);
    fmt::print(stderr, "preheat-adapter: {}\n", problem);
    return failure_status;
  }
}
