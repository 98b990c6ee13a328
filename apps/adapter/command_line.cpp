#include "command_line.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "commands.hpp"

namespace apps::adapter {
namespace {

// Takes a word for its value; the error says which words there are.
template <class Value>
CLI::Validator one_of(const std::map<std::string, Value>& values, const std::string& names) {
  return CLI::Validator(
      [values, names](std::string& word) {
        const auto found = values.find(CLI::detail::to_lower(word));
        if (found == values.end()) {
          return "\"" + word + "\" is none of " + names;
        }
        word = std::to_string(int(found->second));
        return std::string();
      },
      "");
}

// What all commands share.
void add_common(CLI::App& command, common_options& o, bool writes) {
  static const std::map<std::string, safetensors::dtype> types = {
      {"f64", safetensors::dtype::F64},     {"fp64", safetensors::dtype::F64},
      {"float64", safetensors::dtype::F64}, {"double", safetensors::dtype::F64},
      {"f32", safetensors::dtype::F32},     {"fp32", safetensors::dtype::F32},
      {"float32", safetensors::dtype::F32}, {"float", safetensors::dtype::F32},
      {"f16", safetensors::dtype::F16},     {"fp16", safetensors::dtype::F16},
      {"float16", safetensors::dtype::F16}, {"half", safetensors::dtype::F16},
      {"bf16", safetensors::dtype::BF16},   {"bfloat16", safetensors::dtype::BF16}};
  if (writes) {
    command.add_option("--out", o.out, "what is written; it must not exist")->required();
    command.add_option("--dtype", o.stored, "of what is written; default the input's")
        ->type_name("F64|F32|F16|BF16")
        ->transform(one_of(types, "F32, F16, BF16, F64 or a usual name of these"));
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
  return command.add_option(name, value, text)->type_name(names)->transform(one_of(choices, names));
}

void add_layout(CLI::App& command, layout& value) {
  add_choice(command, "--layout", value,
             std::map<std::string, layout>{{"linear", layout::linear}, {"conv1d", layout::conv1d}},
             "how the base stores matrices, where nothing else says it");
}

void add_intruders(CLI::App& c, preheat::intruder_options& o) {
  c.add_option("--top-k", o.first, "main directions of W + ΔW that may be intruders; default 10")
      ->type_name("N");
  c.add_option("--threshold", o.threshold,
               "an intruder has a cosine below it with every direction of W; default 0.5")
      ->type_name("C");
}

// Options of a sum of adapters; the one that says which kind of sum.
CLI::Option* add_sum(CLI::App& c, reduce_options& o) {
  using kind = reduce_options::kind;
  c.add_option("adapters", o.adapters, "one adapter or several")->required()->type_name("DIR");
  c.add_option("--weights", o.weights, "one for each adapter; default 1")->type_name("W");
  c.add_option("--rank", o.rank, "of every layer, or the most with --energy and --ratio")
      ->type_name("R");
  c.add_option("--energy", o.energy, "keep this part of each layer's ‖ΔW‖²")->type_name("E");
  c.add_option("--ratio", o.ratio, "keep singular values of at least σ₁/X")->type_name("X");
  CLI::Option* const type =
      add_choice(c, "--type", o.type,
                 std::map<std::string, kind>{{"svd", kind::svd},
                                             {"linear", kind::linear},
                                             {"cat", kind::cat},
                                             {"ties", kind::ties},
                                             {"dare_linear", kind::dare_linear},
                                             {"dare_ties", kind::dare_ties},
                                             {"magnitude_prune", kind::magnitude_prune}},
                 "as PEFT's combination_type; default svd");
  c.add_option("--density", o.density, "the part that ties, dare_… and magnitude_prune keep")
      ->type_name("D");
  add_choice(c, "--majority", o.sign,
             std::map<std::string, preheat::majority>{{"total", preheat::majority::total},
                                                      {"frequency", preheat::majority::frequency}},
             "how ties and dare_ties elect a sign; default total");
  c.add_option("--layers", o.layers, "another weight for blocks, 0-3=0.5; 0 leaves them out")
      ->type_name("N-M=W");
  add_common(c, o, true);
  return type;
}

// Where a command writes.
std::vector<std::filesystem::path> targets_of(const common_options& o) {
  return {o.out, o.json};
}
std::vector<std::filesystem::path> targets_of(const init_options& o) {
  return {o.out, o.json, o.residual};
}

// Leaves command(options) in `run` when the command line is parsed.
template <class Options>
void on_parsed(CLI::App& c, const std::shared_ptr<Options>& options,
               void (*command)(const Options&), std::function<void()>& run,
               std::vector<std::filesystem::path>& targets) {
  c.callback([options, command, &run, &targets] {
    run = [options, command] { command(*options); };
    targets = targets_of(*options);
    std::erase(targets, std::filesystem::path());
  });
}

}  // namespace

void describe_commands(CLI::App& app, std::function<void()>& run,
                       std::vector<std::filesystem::path>& targets) {
  {
    const auto kept = std::make_shared<hrp_options>();
    hrp_options& o = *kept;
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
    on_parsed(c, kept, hrp, run, targets);
  }
  {
    const auto kept = std::make_shared<reduce_options>();
    reduce_options& o = *kept;
    CLI::App& c = *app.add_subcommand(
        "reduce", "the best adapter of a lower rank for one or a sum of several");
    add_sum(c, o);
    c.add_flag("--remove-intruders", o.remove_intruders,
               "scale directions that the --base has not; without --rank at the adapter's ranks");
    c.add_option("--intruder-scale", o.intruder_scale,
                 "what stays of them, default 0.75; 0 removes them whole")
        ->type_name("L");
    c.add_option("--base", o.base, "the model, for --remove-intruders")->type_name("FILE");
    add_intruders(c, o.intruders);
    on_parsed(c, kept, reduce, run, targets);
  }
  {
    const auto kept = std::make_shared<reduce_options>();
    reduce_options& o = *kept;
    CLI::App& c = *app.add_subcommand(
        "combine", "several adapters as one: linear, cat, ties, dare_ties, …, as PEFT does");
    o.command = "combine";
    add_sum(c, o)->required();
    on_parsed(c, kept, reduce, run, targets);
  }
  {
    const auto kept = std::make_shared<extract_options>();
    extract_options& o = *kept;
    CLI::App& c = *app.add_subcommand("extract", "the LoRA of a full fine-tune");
    c.add_option("tuned", o.tuned, "the fine-tuned model")->required()->type_name("FILE");
    c.add_option("--base", o.base, "the model before")->required()->type_name("FILE");
    c.add_option("--rank", o.rank, "of every layer, or the most with --energy")->type_name("R");
    c.add_option("--energy", o.energy, "keep this part of each layer's ‖ΔW‖²")->type_name("E");
    c.add_option("--targets", o.targets,
                 "matches the whole name of the modules; default all matrices")
        ->type_name("REGEX");
    c.add_flag("--norms", o.norms, "take norms that changed along, in modules_to_save");
    c.add_flag("--biases", o.biases, "take biases that changed along, as bias \"all\"");
    c.add_flag("--embeddings", o.embeddings, "take embeddings that changed along");
    add_layout(c, o.stored_as);
    add_common(c, o, true);
    on_parsed(c, kept, extract, run, targets);
  }
  {
    const auto kept = std::make_shared<init_options>();
    init_options& o = *kept;
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
    add_layout(c, o.stored_as);
    c.add_flag("--rslora", o.rslora, "the scale is α/√r");
    c.add_flag("--exact", o.exact, "pissa by an exact SVD (always, without --residual)");
    add_common(c, o, true);
    on_parsed(c, kept, init, run, targets);
  }
  {
    const auto kept = std::make_shared<convert_options>();
    convert_options& o = *kept;
    using style = convert_options::style;
    CLI::App& c = *app.add_subcommand(
        "convert",
        "an adapter on a residual base (PiSSA, …), DoRA, LoHa, LoKr as plain LoRA; other formats");
    c.add_option("adapter", o.adapter, "the trained adapter")->required()->type_name("DIR");
    c.add_option("--initial", o.initial, "the adapter before training, of one on a residual base")
        ->type_name("DIR0");
    add_choice(c, "--to", o.to,
               std::map<std::string, style>{{"peft", style::peft},
                                            {"kohya", style::kohya},
                                            {"diffusers", style::diffusers},
                                            {"comfy", style::comfy},
                                            {"gguf", style::gguf}},
               "the format; default peft");
    c.add_option("--base", o.base, "the model: its names, its weights for DoRA")->type_name("FILE");
    c.add_option("--map", o.map, "in the adapter's names of modules, if the base has others")
        ->type_name("OLD=NEW");
    c.add_option("--architecture", o.architecture, "of a GGUF file; default the base's")
        ->type_name("A");
    c.add_option("--rank", o.rank, "recompress to this rank; default exactly")->type_name("R");
    add_common(c, o, true);
    on_parsed(c, kept, convert, run, targets);
  }
  {
    const auto kept = std::make_shared<merge_options>();
    merge_options& o = *kept;
    CLI::App& c =
        *app.add_subcommand("merge", "the base with adapters in it, as a file or a model's folder");
    c.add_option("adapters", o.adapters, "one adapter or several")->required()->type_name("DIR");
    c.add_option("--weights", o.weights, "one for each adapter; default 1")->type_name("W");
    c.add_option("--base", o.base, "the model")->required()->type_name("FILE");
    c.add_option("--map", o.map, "in the adapter's names of modules, if the base has others")
        ->type_name("OLD=NEW");
    add_layout(c, o.stored_as);
    add_common(c, o, true);
    on_parsed(c, kept, merge, run, targets);
  }
  {
    const auto kept = std::make_shared<inspect_options>();
    inspect_options& o = *kept;
    CLI::App& c =
        *app.add_subcommand("inspect", "spectra and effective ranks; of two adapters, the overlap");
    c.add_option("adapter", o.adapter, "the adapter")->required()->type_name("DIR");
    c.add_option("other", o.other, "another, to compare with")->type_name("DIR2");
    c.add_option("--plot", o.plot, "spectra and a map of the layers, as SVG and PNG")
        ->type_name("FILE");
    c.add_option("--base", o.base, "the model: finds intruder dimensions")->type_name("FILE");
    add_intruders(c, o.intruders);
    add_common(c, o, false);
    on_parsed(c, kept, inspect, run, targets);
  }
  {
    const auto kept = std::make_shared<generate_options>();
    generate_options& o = *kept;
    CLI::App& c =
        *app.add_subcommand("generate", "a random adapter of a model's shapes, to measure with");
    c.group("");  // not in the help
    c.add_option("--shape", o.shape);
    c.add_option("--rank", o.rank);
    add_common(c, o, true);
    on_parsed(c, kept, generate, run, targets);
  }
}

}  // namespace apps::adapter
