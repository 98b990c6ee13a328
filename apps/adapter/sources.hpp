// Refuses what a command cannot work on.
#pragma once
#include <string>

#include <preheat/peft/terms.hpp>

#include "factors.hpp"

namespace apps::adapter {

inline void require_plain(const peft::reader& adapter) {
  if (adapter.on_residual_base()) {
    std::string start;
    for (const peft::settings_part& part : adapter.settings()) {
      start = part.config.on_residual_base() ? part.config.init() : start;
    }
    throw preheat::invalid_argument(
        adapter.path().string() + ": init_lora_weights is \"" + start +
        "\", so this adapter belongs to a residual base; make it plain LoRA first: convert DIR "
        "--initial DIR0");
  }
}

inline void refuse_what_cannot_be_merged(const peft::reader& adapter) {
  require_plain(adapter);
  const auto refuse = [&](const char* field, const std::string& why) {
    if (adapter.has(field)) {
      throw preheat::invalid_argument(adapter.path().string() + ": " + field + " is set: " + why);
    }
  };
  refuse("alora_invocation_tokens",
         "an Activated LoRA (aLoRA) acts only behind these tokens, so it cannot be merged");
  refuse("layer_replication",
         "the adapter belongs to a model with repeated layers, which the base is not");
}

// The rows of a module that trainable_token_indices names: a list for the embedding, or lists by module. Null
// if it names none.
inline const nlohmann::ordered_json* token_indices(const peft::reader& adapter,
                                                   const std::string& module) {
  const nlohmann::ordered_json* list = nullptr;
  for (const peft::settings_part& part : adapter.settings()) {
    const auto field = part.config.fields().find("trainable_token_indices");
    if (field == part.config.fields().end()) {
      continue;
    }
    if (field->is_array()) {
      list = &*field;
    } else if (field->is_object()) {
      for (auto one = field->begin(); one != field->end(); ++one) {
        if (module == one.key() || module.ends_with("." + one.key())) {
          list = &one.value();
        }
      }
    }
  }
  return list;
}

}  // namespace apps::adapter
