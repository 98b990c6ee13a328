// What the metadata of a single .safetensors file say about the ranks and scales of its adapter. Trainers
// write there what PEFT has in adapter_config.json:
//
//   lora_adapter_metadata   diffusers: the config as JSON, its fields with the name of a model's part before
//   (adapter_config, …)     them, "transformer.r", "transformer.lora_alpha"; or without
//   lora_alpha, r, …        the fields themselves, also with a part's name before them
//   ss_network_alpha        kohya: counts only for modules that have no .alpha and no other source
//
// When an adapter is written, the same fields say what it has then (with_ranks), and hashes of the old
// file, which would be wrong, go.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config.hpp"

namespace preheat::peft {

// The config of the modules whose names begin with a prefix and a dot; of all, if it is empty.
struct settings_part {
  std::string prefix;
  peft::config config;
  std::string said_in;   // for errors: "adapter_config.json", "lora_adapter_metadata of the header"
  bool has_rank = true;  // it says r
  bool only_otherwise = false;  // it counts where nothing else says a scale

  // The module's name behind the prefix; nothing if it has another one.
  std::optional<std::string> name_inside(std::string_view module) const {
    if (prefix.empty()) {
      return std::string(module);
    }
    if (module.size() > prefix.size() + 1 && module.starts_with(prefix) &&
        module[prefix.size()] == '.') {
      return std::string(module.substr(prefix.size() + 1));
    }
    return std::nullopt;
  }
};

namespace detail {

using metadata_map = std::map<std::string, std::string>;

// Keys whose value is a config as JSON.
inline constexpr std::array<std::string_view, 4> config_keys = {
    {"lora_adapter_metadata", "adapter_config", "peft_config", "lora_config"}};

inline std::pair<std::string, std::string> split_key(const std::string& key) {
  const std::size_t dot = key.rfind('.');
  return dot == std::string::npos ? std::pair(std::string(), key)
                                  : std::pair(key.substr(0, dot), key.substr(dot + 1));
}

// The field of a config that a flat key means; "" for none.
inline std::string flat_field(const std::string& name) {
  for (const char* const alpha : {"lora_alpha", "alpha", "network_alpha"}) {
    if (name == alpha) {
      return "lora_alpha";
    }
  }
  for (const char* const rank : {"r", "rank", "lora_rank", "lora_r", "network_dim"}) {
    if (name == rank) {
      return "r";
    }
  }
  return name == "use_rslora" || name == "rank_pattern" || name == "alpha_pattern" ? name : "";
}

inline config config_of_fields(nlohmann::ordered_json fields, const std::string& source) {
  if (!fields.contains("peft_type")) {
    fields["peft_type"] = "LORA";
  }
  return config::parse(fields.dump(), source);
}

// The flat keys, as parts of the model with their fields.
inline std::map<std::string, nlohmann::ordered_json> flat_fields(const metadata_map& metadata) {
  std::map<std::string, nlohmann::ordered_json> parts;
  for (const auto& [key, text] : metadata) {
    const auto [prefix, name] = split_key(key);
    const std::string field = flat_field(name);
    if (!field.empty()) {
      nlohmann::ordered_json value = nlohmann::ordered_json::parse(text, nullptr, false);
      if (text == "True" || text == "False") {
        value = text == "True";
      }
      constexpr double most = 1e9;
      if (value.is_number_float() && field == "r" && std::abs(value.get<double>()) < most &&
          value == std::floor(value.get<double>())) {
        value = index_t(value.get<double>());
      }
      if (name != field && !value.is_number()) {
        continue;  // "alpha" and "rank" may mean something else
      }
      parts[prefix][field] = value.is_discarded() ? nlohmann::ordered_json(text) : value;
    }
  }
  std::erase_if(parts, [](const auto& part) { return !part.second.contains("lora_alpha"); });
  return parts;
}

}  // namespace detail

// Errors: io_error, naming the source and the field, as config::parse.
inline std::vector<settings_part> settings_of_header(const detail::metadata_map& metadata,
                                                     const std::string& source) {
  constexpr std::size_t deepest = 16;
  std::vector<settings_part> parts;
  for (const std::string_view key : detail::config_keys) {
    const auto found = metadata.find(std::string(key));
    if (found == metadata.end()) {
      continue;
    }
    const std::string said = std::string(key) + " of the header";
    const auto json = files::parse_strict_json<nlohmann::ordered_json>(
        found->second, source + ": " + said, deepest);
    if (!json.is_object()) {
      throw io_error(source + ": " + said + ": a config is a JSON object");
    }
    std::map<std::string, nlohmann::ordered_json> fields;
    for (const auto& [name, value] : json.items()) {
      const auto [prefix, field] = detail::split_key(name);
      fields[prefix][field] = value;
    }
    for (auto& [prefix, some] : fields) {
      if (some.contains("lora_alpha") || some.contains("r")) {
        const bool has_rank = some.contains("r");
        parts.push_back({prefix, detail::config_of_fields(std::move(some), source + ": " + said),
                         said, has_rank});
      }
    }
  }
  for (auto& [prefix, some] : detail::flat_fields(metadata)) {
    const std::string said = (prefix.empty() ? "" : prefix + ".") + "lora_alpha of the header";
    const bool has_rank = some.contains("r");
    parts.push_back(
        {prefix, detail::config_of_fields(std::move(some), source + ": " + said), said, has_rank});
  }
  const auto alpha = metadata.find("ss_network_alpha");
  if (alpha != metadata.end()) {
    const auto value = nlohmann::ordered_json::parse(alpha->second, nullptr, false);
    if (value.is_number()) {  // else "None" or "Dynamic"
      nlohmann::ordered_json some;
      some["lora_alpha"] = value;
      parts.push_back({"", detail::config_of_fields(some, source + ": ss_network_alpha"),
                       "ss_network_alpha of the header", false, true});
    }
  }
  // The longest prefix first.
  std::stable_sort(parts.begin(), parts.end(),
                   [](const auto& a, const auto& b) { return a.prefix.size() > b.prefix.size(); });
  return parts;
}

// The metadata of a file with these ranks and α: fields that stated others state these, and what only
// holds for the old file goes. With new_modules the adapter may have other modules than before.
inline detail::metadata_map with_ranks(detail::metadata_map metadata,
                                       const std::vector<settings_part>& parts,
                                       const std::vector<module_rank>& modules,
                                       bool new_modules = false) {
  for (const std::string_view key : detail::config_keys) {
    const auto found = metadata.find(std::string(key));
    if (found == metadata.end()) {
      continue;
    }
    auto json = nlohmann::ordered_json::parse(found->second);
    for (const settings_part& part : parts) {
      if (!part.said_in.starts_with(key)) {
        continue;
      }
      std::vector<module_rank> inside;
      for (const module_rank& m : modules) {
        if (const auto name = part.name_inside(m.module)) {
          inside.push_back({*name, m.rank, m.alpha});
        }
      }
      if (inside.empty()) {
        continue;
      }
      const detail::written_ranks written = detail::written_ranks_of(inside);
      const std::string begin = part.prefix.empty() ? "" : part.prefix + ".";
      json[begin + "r"] = written.rank;
      json[begin + "lora_alpha"] = detail::json_number(written.alpha);
      json[begin + "rank_pattern"] = written.rank_pattern;
      json[begin + "alpha_pattern"] = written.alpha_pattern;
      json[begin + "use_rslora"] = false;
      if (new_modules) {
        std::vector<std::string> names;
        for (const module_rank& m : inside) {
          names.push_back(m.module);
        }
        json[begin + "target_modules"] = names;
        for (const char* const limit :
             {"exclude_modules", "layers_to_transform", "layers_pattern"}) {
          json.erase(begin + limit);
        }
      }
    }
    found->second = json.dump();
  }
  const auto one = [&](auto value_of) -> std::string {
    const auto first = value_of(modules.front());
    const bool same = std::all_of(modules.begin(), modules.end(),
                                  [&](const module_rank& m) { return value_of(m) == first; });
    return same ? detail::json_number(double(first)).dump() : "Dynamic";
  };
  const std::string rank = one([](const module_rank& m) { return m.rank; });
  const std::string alpha = one([](const module_rank& m) { return m.alpha; });
  detail::metadata_map kept;
  for (auto& [key, text] : metadata) {
    const std::string field = detail::flat_field(detail::split_key(key).second);
    if (key == "ss_network_dim" || key == "ss_network_alpha") {
      kept[key] = key == "ss_network_dim" ? rank : alpha;
    } else if (key == "ss_network_args") {  // a convolution's rank and α
      auto json = nlohmann::ordered_json::parse(text, nullptr, false);
      if (json.is_object()) {
        json.erase("conv_dim");
        json.erase("conv_alpha");
      }
      kept[key] = json.is_object() ? json.dump() : text;
    } else if (field == "use_rslora") {
      kept[key] = "false";
    } else if (field == "r" || field == "lora_alpha") {
      const std::string& now = field == "r" ? rank : alpha;
      if (now != "Dynamic") {  // the tensors say it
        kept[key] = now;
      }
    } else if (field.empty() && key != "sshs_model_hash" && key != "sshs_legacy_hash" &&
               key != "modelspec.hash_sha256") {
      kept[key] = text;
    }
  }
  return kept;
}

}  // namespace preheat::peft
