// adapter_config.json of a LoRA adapter, as Hugging Face's PEFT writes and reads it.
//
// The rank of a module is r, or the value of the first key of rank_pattern that matches its name as
// Python's re.match("(.*\.)?(key)$", name) does; α likewise from lora_alpha and alpha_pattern. The
// scale of s·B·A is α/r, or α/√r with use_rslora. Fields that are absent or null have PEFT's
// defaults; fields that this code does not know are kept as they are.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "../files/strict_json.hpp"
#include "../train/scaling.hpp"
#include "module_pattern.hpp"

namespace preheat::peft {

// A module with its rank and α, for config::set_ranks.
struct module_rank {
  std::string module;
  index_t rank = 0;
  double alpha = 0;
};

namespace detail {

// 16 rather than 16.0, as PEFT's users write it.
inline nlohmann::ordered_json json_number(double value) {
  constexpr double exact = 9007199254740992.0;  // 2^53
  if (value == std::floor(value) && std::abs(value) < exact) {
    return static_cast<long long>(value);
  }
  return value;
}

}  // namespace detail

class config {
 public:
  // Errors: io_error, naming `source` and the field: not JSON, a peft_type other than LORA, a field
  // of the wrong type or range, a variant whose adapters are more than s·B·A (KaSA, BD-LoRA, …).
  static config parse(std::string_view text, const std::string& source) {
    constexpr std::size_t deepest = 16;
    config result;
    result.fields_ = files::parse_strict_json<nlohmann::ordered_json>(text, source, deepest);
    result.source_ = source;
    result.read();
    return result;
  }

  // A new config with what PEFT needs to load plain LoRA.
  static config plain(const std::string& base_model, std::vector<std::string> target_modules) {
    config result;
    result.source_ = "adapter_config.json";
    result.fields_ = {
        {"peft_type", "LORA"},
        {"task_type", nullptr},
        {"inference_mode", true},
        {"base_model_name_or_path", nullptr},
        {"r", 8},
        {"lora_alpha", 8},
        {"lora_dropout", 0.0},
        {"bias", "none"},
        {"fan_in_fan_out", false},
        {"init_lora_weights", true},
        {"use_rslora", false},
        {"use_dora", false},
        {"modules_to_save", nullptr},
        {"rank_pattern", nlohmann::ordered_json::object()},
        {"alpha_pattern", nlohmann::ordered_json::object()},
        {"target_modules", std::move(target_modules)},
    };
    if (!base_model.empty()) {
      result.fields_["base_model_name_or_path"] = base_model;
    }
    result.read();
    return result;
  }

  const nlohmann::ordered_json& fields() const { return fields_; }
  bool rslora() const { return rslora_; }
  bool dora() const { return dora_; }
  // Whether the base stores W transposed, as GPT-2's Conv1D.
  bool fan_in_fan_out() const { return fan_in_fan_out_; }
  // "true", "pissa", …: the init by which PEFT started this adapter. PEFT runs it again on loading.
  std::string init() const {
    const auto found = fields_.find("init_lora_weights");
    if (found == fields_.end() || found->is_null()) {
      return "true";
    }
    return found->is_string() ? found->get<std::string>() : found->dump();
  }

  // Whether that init subtracts the start's product from the base, so that the adapter is for that base.
  bool on_residual_base() const {
    const std::string start = init();
    for (const char* const residual : {"pissa", "olora", "corda", "lora_ga", "loftq"}) {
      if (start.starts_with(residual)) {
        return true;
      }
    }
    return false;
  }

  index_t rank(const std::string& module) const { return rank_pattern_(module, rank_); }
  double alpha(const std::string& module) const { return alpha_pattern_(module, alpha_); }
  double scaling(const std::string& module) const { return scaling(alpha(module), rank(module)); }

  double scaling(double alpha, index_t rank) const { return scaling_of(form(), alpha, rank); }
  // The α that gives the scale s at this rank.
  double alpha_for(double s, index_t rank) const { return alpha_of(form(), s, rank); }

  // Sets a field, known or not.
  void set(const std::string& key, nlohmann::ordered_json value) {
    fields_[key] = std::move(value);
    read();
  }

  // Gives every module its rank and α: the most frequent as r and lora_alpha, the others as
  // rank_pattern and alpha_pattern under their full names, longest name first. Where a name is the
  // end of another ("query" and "layer.0.query"), its key begins with "^", so that it matches only
  // itself in whatever order another program sorts the keys.
  void set_ranks(const std::vector<module_rank>& modules) {
    require(!modules.empty(), "an adapter has at least one module");
    std::map<index_t, std::size_t> ranks;
    std::map<double, std::size_t> alphas;
    for (const module_rank& m : modules) {
      ++ranks[m.rank];
      ++alphas[m.alpha];
    }
    const index_t common_rank = most_frequent(ranks);
    const double common_alpha = most_frequent(alphas);

    std::vector<const module_rank*> order;
    for (const module_rank& m : modules) {
      order.push_back(&m);
    }
    std::stable_sort(order.begin(), order.end(), [](const module_rank* a, const module_rank* b) {
      return a->module.size() > b->module.size();
    });
    nlohmann::ordered_json rank_pattern = nlohmann::ordered_json::object();
    nlohmann::ordered_json alpha_pattern = nlohmann::ordered_json::object();
    for (const module_rank* m : order) {
      const bool ambiguous = std::any_of(modules.begin(), modules.end(), [&](const module_rank& o) {
        return o.module.ends_with("." + m->module);
      });
      const std::string key = (ambiguous ? "^" : "") + m->module;
      if (m->rank != common_rank || (ambiguous && ranks.size() > 1)) {
        rank_pattern[key] = m->rank;
      }
      if (m->alpha != common_alpha || (ambiguous && alphas.size() > 1)) {
        alpha_pattern[key] = detail::json_number(m->alpha);
      }
    }
    fields_["r"] = common_rank;
    fields_["lora_alpha"] = detail::json_number(common_alpha);
    fields_["rank_pattern"] = std::move(rank_pattern);
    fields_["alpha_pattern"] = std::move(alpha_pattern);
    read();
  }

  // As PEFT lays it out. Errors: io_error.
  void write(const std::filesystem::path& path) const {
    std::ofstream file(path);
    file << fields_.dump(2) << '\n';
    file.close();
    if (!file) {
      throw io_error(path.string() + ": cannot write");
    }
  }

 private:
  config() = default;

  scaling_rule::form form() const {
    return rslora_ ? scaling_rule::form::over_sqrt_rank : scaling_rule::form::over_rank;
  }

  template <class Key>
  static Key most_frequent(const std::map<Key, std::size_t>& counts) {
    return std::max_element(counts.begin(), counts.end(),
                            [](const auto& a, const auto& b) { return a.second < b.second; })
        ->first;
  }

  [[noreturn]] void fail(const std::string& problem) const {
    throw io_error(source_ + ": " + problem);
  }

  // A field that is there and not null.
  const nlohmann::ordered_json* given(const char* key) const {
    const auto found = fields_.find(key);
    return found == fields_.end() || found->is_null() ? nullptr : &*found;
  }
  bool flag(const char* key) const {
    const nlohmann::ordered_json* const value = given(key);
    if (value != nullptr && !value->is_boolean()) {
      fail(std::string(key) + " is true or false, not " + files::in_quotes(value->dump()));
    }
    return value != nullptr && value->get<bool>();
  }
  index_t rank_value(const std::string& key, const nlohmann::ordered_json& value) const {
    constexpr index_t most = 1'000'000;
    if (!value.is_number_integer() || value.get<double>() < 1 || value.get<double>() > most) {
      fail(key + ": a rank is an integer from 1 to 1000000, not " + files::in_quotes(value.dump()));
    }
    return value.get<index_t>();
  }
  double alpha_value(const std::string& key, const nlohmann::ordered_json& value) const {
    if (!value.is_number() || !std::isfinite(value.get<double>())) {
      fail(key + ": alpha is a finite number, not " + files::in_quotes(value.dump()));
    }
    return value.get<double>();
  }

  // Takes what is needed out of fields_.
  void read() {
    constexpr index_t default_rank = 8;  // PEFT's
    constexpr double default_alpha = 8;
    if (!fields_.is_object()) {
      fail("a config is a JSON object");
    }
    const nlohmann::ordered_json* const type = given("peft_type");
    if (type == nullptr || *type != "LORA") {
      fail("peft_type is \"LORA\", not " +
           (type == nullptr ? std::string("absent") : files::in_quotes(type->dump())));
    }
    for (const char* const variant : {"kasa_config", "use_bdlora", "use_qalora", "velora_config",
                                      "monteclora_config", "arrow_config", "target_parameters"}) {
      const nlohmann::ordered_json* const value = given(variant);
      if (value != nullptr && *value != false && !value->empty()) {
        fail(std::string(variant) + " is set; this variant of LoRA is not understood");
      }
    }
    rslora_ = flag("use_rslora");
    dora_ = flag("use_dora");
    fan_in_fan_out_ = flag("fan_in_fan_out");
    rank_ = given("r") == nullptr ? default_rank : rank_value("r", *given("r"));
    alpha_ = given("lora_alpha") == nullptr ? default_alpha
                                            : alpha_value("lora_alpha", *given("lora_alpha"));
    rank_pattern_ = {};
    const nlohmann::ordered_json ranks = pattern("rank_pattern");
    for (const auto& [key, value] : ranks.items()) {
      rank_pattern_.add(key, rank_value("rank_pattern " + files::in_quotes(key), value), source_);
    }
    alpha_pattern_ = {};
    const nlohmann::ordered_json alphas = pattern("alpha_pattern");
    for (const auto& [key, value] : alphas.items()) {
      alpha_pattern_.add(key, alpha_value("alpha_pattern " + files::in_quotes(key), value),
                         source_);
    }
  }
  nlohmann::ordered_json pattern(const char* key) const {
    const nlohmann::ordered_json* const value = given(key);
    if (value == nullptr) {
      return nlohmann::ordered_json::object();
    }
    if (!value->is_object()) {
      fail(std::string(key) + " is an object, not " + files::in_quotes(value->dump()));
    }
    return *value;
  }

  nlohmann::ordered_json fields_;
  std::string source_;
  index_t rank_ = 0;
  double alpha_ = 0;
  bool rslora_ = false;
  bool dora_ = false;
  bool fan_in_fan_out_ = false;
  detail::module_pattern<index_t> rank_pattern_;
  detail::module_pattern<double> alpha_pattern_;
};

}  // namespace preheat::peft
