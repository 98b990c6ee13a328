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
#include <regex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "strict_json.hpp"

namespace preheat::io {

// A module with its rank and α, for peft_config::set_ranks.
struct module_rank {
  std::string module;
  index_t rank = 0;
  double alpha = 0;
};

namespace detail {

// Expressions come from files that nobody vouches for, and std::regex trusts its pattern: repetitions in
// braces multiply its states, long numbers overflow, and backtracking can take forever. So the first two
// are refused, the length is limited, and libstdc++ is told to match in polynomial time, which it can
// for all but back references (these it then refuses).
inline std::regex module_expression(const std::string& key) {
  constexpr std::size_t longest = 1000;
  constexpr std::size_t most_digits = 9;
  std::size_t digits = 0;
  bool harmless = key.size() <= longest;
  for (const char c : key) {
    digits = '0' <= c && c <= '9' ? digits + 1 : 0;
    harmless = harmless && c != '{' && digits <= most_digits;
  }
  if (!harmless) {
    throw std::regex_error(std::regex_constants::error_complexity);
  }
  std::regex::flag_type syntax = std::regex::ECMAScript;
#if defined(__GLIBCXX__)
  syntax |= std::regex_constants::__polynomial;
#endif
  return std::regex("(.*\\.)?(" + key + ")$", syntax);
}

// The keys of a pattern in the order of the file, each compiled as PEFT reads it.
template <class Value>
class module_pattern {
 public:
  void add(const std::string& key, Value value, const std::string& source) {
    try {
      entries_.push_back({module_expression(key), value});
    } catch (const std::regex_error&) {
      throw io_error(source + ": the pattern " + in_quotes(key) +
                     " is not a regular expression of at most 1000 characters, without {}");
    }
  }
  Value operator()(const std::string& module, Value otherwise) const {
    for (const auto& [expression, value] : entries_) {
      if (std::regex_match(module, expression)) {
        return value;
      }
    }
    return otherwise;
  }

 private:
  std::vector<std::pair<std::regex, Value>> entries_;
};

// 16 rather than 16.0, as PEFT's users write it.
inline nlohmann::ordered_json json_number(double value) {
  constexpr double exact = 9007199254740992.0;  // 2^53
  if (value == std::floor(value) && std::abs(value) < exact) {
    return static_cast<long long>(value);
  }
  return value;
}

}  // namespace detail

class peft_config {
 public:
  // Errors: io_error, naming `source` and the field: not JSON, a peft_type other than LORA, a field
  // of the wrong type or range, a variant whose adapters are more than s·B·A (KaSA, BD-LoRA, …).
  static peft_config parse(std::string_view text, const std::string& source) {
    constexpr std::size_t deepest = 16;
    peft_config config;
    config.fields_ = parse_strict_json<nlohmann::ordered_json>(text, source, deepest);
    config.source_ = source;
    config.read();
    return config;
  }

  // What PEFT needs to load plain LoRA: a config of our own making.
  static peft_config plain(const std::string& base_model, std::vector<std::string> target_modules) {
    peft_config config;
    config.source_ = "adapter_config.json";
    config.fields_ = {
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
      config.fields_["base_model_name_or_path"] = base_model;
    }
    config.read();
    return config;
  }

  const nlohmann::ordered_json& fields() const { return fields_; }
  bool rslora() const { return rslora_; }
  bool dora() const { return dora_; }
  // Whether the base stores W transposed, as GPT-2's Conv1D.
  bool fan_in_fan_out() const { return fan_in_fan_out_; }
  // "true", "pissa", …: how PEFT would start this adapter, and what it does again on loading.
  std::string init() const {
    const auto found = fields_.find("init_lora_weights");
    if (found == fields_.end() || found->is_null()) {
      return "true";
    }
    return found->is_string() ? found->get<std::string>() : found->dump();
  }

  index_t rank(const std::string& module) const { return rank_pattern_(module, rank_); }
  double alpha(const std::string& module) const { return alpha_pattern_(module, alpha_); }
  double scaling(const std::string& module) const { return scaling(alpha(module), rank(module)); }

  double scaling(double alpha, index_t rank) const {
    return alpha / (rslora_ ? std::sqrt(double(rank)) : double(rank));
  }
  // The α that gives the scale s at this rank.
  double alpha_for(double s, index_t rank) const {
    return s * (rslora_ ? std::sqrt(double(rank)) : double(rank));
  }

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
  peft_config() = default;

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
      fail(std::string(key) + " is true or false, not " + detail::in_quotes(value->dump()));
    }
    return value != nullptr && value->get<bool>();
  }
  index_t rank_value(const std::string& key, const nlohmann::ordered_json& value) const {
    constexpr index_t most = 1'000'000;
    if (!value.is_number_integer() || value.get<double>() < 1 || value.get<double>() > most) {
      fail(key + ": a rank is an integer from 1 to 1000000, not " +
           detail::in_quotes(value.dump()));
    }
    return value.get<index_t>();
  }
  double alpha_value(const std::string& key, const nlohmann::ordered_json& value) const {
    if (!value.is_number() || !std::isfinite(value.get<double>())) {
      fail(key + ": alpha is a finite number, not " + detail::in_quotes(value.dump()));
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
           (type == nullptr ? std::string("absent") : detail::in_quotes(type->dump())));
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
      rank_pattern_.add(key, rank_value("rank_pattern " + detail::in_quotes(key), value), source_);
    }
    alpha_pattern_ = {};
    const nlohmann::ordered_json alphas = pattern("alpha_pattern");
    for (const auto& [key, value] : alphas.items()) {
      alpha_pattern_.add(key, alpha_value("alpha_pattern " + detail::in_quotes(key), value),
                         source_);
    }
  }
  nlohmann::ordered_json pattern(const char* key) const {
    const nlohmann::ordered_json* const value = given(key);
    if (value == nullptr) {
      return nlohmann::ordered_json::object();
    }
    if (!value->is_object()) {
      fail(std::string(key) + " is an object, not " + detail::in_quotes(value->dump()));
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

}  // namespace preheat::io
