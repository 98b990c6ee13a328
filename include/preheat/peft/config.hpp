// adapter_config.json of a LoRA adapter, as Hugging Face's PEFT writes and reads it.
//
// The rank of a module is r, or the value of the first key of rank_pattern that matches its name as
// Python's re.match("(.*\.)?(key)$", name) does; α likewise from lora_alpha and alpha_pattern. The
// scale of s·B·A is α/r, or α/√r with use_rslora. Fields that are absent have PEFT's defaults, and so have
// those that are null, but for r and lora_alpha; fields that this code does not know are kept as they are.
#pragma once
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
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
#include "rank_patterns.hpp"

namespace preheat::peft {

namespace detail {

// As PEFT lays it out. Errors: io_error.
inline void write_config(const nlohmann::ordered_json& fields, const std::filesystem::path& path) {
  std::ofstream file(path);
  file << fields.dump(2) << '\n';
  file.close();
  if (!file) {
    throw io_error(path.string() + ": cannot write");
  }
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

  // Whether a field is there and says something: not null, false or empty.
  bool has(const char* key) const {
    const nlohmann::ordered_json* const value = given(key);
    return value != nullptr && *value != false && !(value->is_structured() && value->empty());
  }

  // Sets a field, known or not.
  void set(const std::string& key, nlohmann::ordered_json value) {
    fields_[key] = std::move(value);
    read();
  }

  // Gives every module its rank and α, as rank_patterns.hpp says.
  void set_ranks(const std::vector<module_rank>& modules) {
    detail::written_ranks written = detail::written_ranks_of(modules);
    fields_["r"] = written.rank;
    fields_["lora_alpha"] = detail::json_number(written.alpha);
    fields_["rank_pattern"] = std::move(written.rank_pattern);
    fields_["alpha_pattern"] = std::move(written.alpha_pattern);
    read();
  }

  void write(const std::filesystem::path& path) const { detail::write_config(fields_, path); }

 private:
  config() = default;

  scaling_rule::form form() const {
    return rslora_ ? scaling_rule::form::over_sqrt_rank : scaling_rule::form::over_rank;
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
      const bool vera = type != nullptr && *type == "VERA";
      fail("peft_type is " +
           (type == nullptr     ? std::string("absent")
            : type->is_string() ? files::in_quotes(type->get<std::string>())
                                : files::in_quotes(type->dump())) +
           ", and \"LORA\" is expected" +
           (vera ? "; peft::load<adapter::vera> puts VeRA on a network" : ""));
    }
    for (const char* const variant : {"kasa_config", "use_bdlora", "use_qalora", "velora_config",
                                      "monteclora_config", "arrow_config"}) {
      if (has(variant)) {
        fail(std::string(variant) + " is set; this variant of LoRA is not understood");
      }
    }
    rslora_ = flag("use_rslora");
    dora_ = flag("use_dora");
    fan_in_fan_out_ = flag("fan_in_fan_out");
    const auto r = fields_.find("r");  // null is no number: PEFT cannot load it either
    rank_ = r == fields_.end() ? default_rank : rank_value("r", *r);
    const auto alpha = fields_.find("lora_alpha");
    alpha_ = alpha == fields_.end() ? default_alpha : alpha_value("lora_alpha", *alpha);
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
