#include "material.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include <fmt/format.h>

#include <preheat/files/strict_json.hpp>
#include <preheat/version.hpp>

#include "apps/console/pool.hpp"

namespace apps::finetune {
namespace {

// All layers but the head, as PEFT's "all-linear".
std::vector<std::string> targets_of(network& net, const std::vector<std::string>& wanted) {
  if (wanted != std::vector<std::string>{"all-linear"}) {
    return wanted;
  }
  std::vector<std::string> names;
  for (const auto& l : net.layers()) {
    if (l.name != "lm_head") {
      names.push_back(l.name);
    }
  }
  return names;
}

}  // namespace

std::string version_text() {
  return fmt::format("{}.{}.{}", PREHEAT_VERSION_MAJOR, PREHEAT_VERSION_MINOR,
                     PREHEAT_VERSION_PATCH);
}

double alpha_of(const training_options& o) {
  return o.alpha > 0 ? o.alpha : 2.0 * double(o.rank);
}

preheat::peft::config patterns_of(const material& m) {
  const training_options& o = m.o;
  constexpr std::size_t deepest = 4;
  nlohmann::ordered_json fields = {
      {"peft_type", "LORA"}, {"r", o.rank}, {"lora_alpha", alpha_of(o)}, {"use_rslora", o.rslora}};
  const auto add = [&](const char* key, const std::string& option, const std::string& text) {
    if (text.empty()) {
      return;
    }
    fields[key] = preheat::files::parse_strict_json<nlohmann::ordered_json>(text, option, deepest);
    if (!fields[key].is_object()) {
      throw preheat::io_error(option + ": a JSON object is needed, not " + fields[key].type_name());
    }
    // A key alone says which modules it names: those whose rank is then another one.
    for (const auto& [name, value] : fields[key].items()) {
      const nlohmann::ordered_json alone = {
          {"peft_type", "LORA"}, {"r", 1}, {"rank_pattern", {{name, 2}}}};
      const auto named = preheat::peft::config::parse(alone.dump(), option);
      const auto layers = m.model.net.layers();
      if (std::none_of(layers.begin(), layers.end(),
                       [&](const auto& l) { return named.rank(l.name) == 2; })) {
        throw preheat::io_error(option + ": no module of the model matches " +
                                preheat::files::in_quotes(name));
      }
    }
  };
  add("rank_pattern", "--rank-pattern", o.rank_pattern);
  add("alpha_pattern", "--alpha-pattern", o.alpha_pattern);
  return preheat::peft::config::parse(fields.dump(), "--rank-pattern, --alpha-pattern");
}

preheat::fit_options fit_options_of(const material& m, const run_choice& run) {
  const training_options& o = m.o;
  preheat::fit_options f;
  f.rank = o.rank;
  f.steps = m.steps;
  f.seed = run.seed;
  f.scaling = o.rslora ? preheat::scaling::over_sqrt_rank(alpha_of(o))
                       : preheat::scaling::over_rank(alpha_of(o));
  f.targets = targets_of(m.model.net, o.targets);
  if (!o.rank_pattern.empty() || !o.alpha_pattern.empty()) {
    const preheat::peft::config patterns = patterns_of(m);
    for (const auto& l : m.model.net.layers()) {
      f.layer_ranks.push_back(patterns.rank(l.name));
      f.layer_scaling.push_back(patterns.scaling(l.name));
    }
  }
  if (o.head_rate > 0) {
    f.head_rate = o.head_rate;
  }
  f.processes = m.processes;
  const index_t warmup = index_t(std::lround(o.warmup * double(m.steps)));
  if (o.schedule == "cosine") {
    f.schedule = preheat::schedule::cosine{.warmup = warmup};
  } else if (o.schedule == "linear") {
    f.schedule = preheat::schedule::linear{.warmup = warmup};
  } else {
    f.schedule = preheat::schedule::constant{.warmup = warmup};
  }
  f.max_gradient_norm = o.clip;
  f.accumulate = o.accumulate;
  f.dropout = o.dropout;
  if (!m.eval.empty()) {
    f.evaluate_every = o.eval_every > 0 ? o.eval_every : std::max<index_t>(1, m.steps / 10);
    f.patience = o.patience;
  }
  f.checkpoint_every = o.checkpoint_every;
  f.stop = &console::stop_requested;
  return f;
}

nlohmann::ordered_json settings_of(const material& m) {
  const training_options& o = m.o;
  return {{"version", version_text()},
          {"model", o.model.string()},
          {"data", fmt::format("{:016x}", m.data_hash)},
          {"eval", fmt::format("{:016x}", m.eval_hash)},
          {"rank", o.rank},
          {"alpha", o.alpha},
          {"rank_pattern", o.rank_pattern},
          {"alpha_pattern", o.alpha_pattern},
          {"storage", int(o.storage)},
          {"processes", m.processes.size()},
          {"rslora", o.rslora},
          {"dropout", o.dropout},
          {"head_rate", o.head_rate},
          {"classes", m.model.classes.names},
          {"target_modules", o.targets},
          {"steps", m.steps},
          {"batch", o.batch},
          {"accumulate", o.accumulate},
          {"seq", o.reading.seq},
          {"too_long", int(o.reading.longer)},
          {"count_all", o.reading.count_all},
          {"chat", o.reading.chat},
          {"pack", o.pack},
          {"schedule", o.schedule},
          {"warmup", o.warmup},
          {"clip", o.clip},
          {"eval_every", o.eval_every},
          {"patience", o.patience},
          {"backend", description(m.model.net.backend())}};
}

nlohmann::ordered_json settings_of(const material& m, const run_choice& run) {
  nlohmann::ordered_json settings = settings_of(m);
  settings["method"] = run.method->id;
  settings["rate"] = run.rate;
  settings["seed"] = run.seed;
  return settings;
}

void start_head(const material& m, network& net, std::uint64_t seed) {
  if (!net.classifies()) {
    return;
  }
  Be& be = net.backend();
  const auto& given = m.model.classifier;
  auto head = given ? preheat::clone_params(be, *given)
                    : preheat::nn::random_head(be, index_t(m.model.classes.names.size()),
                                               net.as_encoder().config().hidden_size,
                                               preheat::generator(seed));
  auto gradient = preheat::zeros_like(be, head);
  net.head() = {std::move(head), std::move(gradient)};
}

material read_material(const training_options& o, base_model& model) {
  material m(o, model);
  reading_options reading = o.reading;
  reading.seq = std::min(reading.seq, model.net.most_tokens());
  example_set train = read_examples(o.data, model, reading);
  m.data = train.describe(reading, model.classes);
  m.data_hash = train.hash;
  m.train = std::move(train.examples);
  fmt::print("{}: {}\n", o.data.string(), m.data);
  if (!o.eval.empty()) {
    example_set eval = read_examples(o.eval, model, reading);
    fmt::print("{}: {}\n", o.eval.string(), eval.describe(reading, model.classes));
    m.eval = std::move(eval.examples);
    m.eval_hash = eval.hash;
    m.eval_batch = whole_batch(m.eval);
  }
  m.validation = whole_batch(std::span(m.train).first(std::min<std::size_t>(8, m.train.size())));
  m.rows = rows_of(m.train, std::size_t(reading.seq), o.pack);
  m.per_epoch = batches(m.train, m.rows, o.batch).per_epoch();
  m.steps = o.steps > 0
                ? o.steps
                : std::max<index_t>(
                      1, index_t(std::ceil(o.epochs * double(m.per_epoch) / double(o.accumulate))));
  return m;
}

}  // namespace apps::finetune
