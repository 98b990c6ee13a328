// The config of a sum of adapters, so that PEFT loads every module of it. The first adapter's counts, but for
//
//   target_modules             all modules, by their whole names
//   exclude_modules, layers_to_transform, layers_pattern     null: the names say which
//   modules_to_save            of all adapters
//   trainable_token_indices    of the adapter that has them; two must have the same
//   bias, lora_bias            the most that one of them has
//   fields that change what an adapter computes (aLoRA, replicated layers) must be the same in all
//
// Errors: invalid_argument, naming the field and both folders.
#pragma once
#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "reader.hpp"

namespace preheat::peft {

namespace detail {

inline nlohmann::ordered_json field_of(const config& c, const char* key) {
  const auto found = c.fields().find(key);
  return found == c.fields().end() ? nlohmann::ordered_json() : *found;
}

}  // namespace detail

inline config united_config(std::span<const reader> adapters, std::vector<std::string> modules) {
  using json = nlohmann::ordered_json;
  config united = adapters.front().config();
  json to_save = json::array();
  json tokens;
  const reader* with_tokens = nullptr;
  bool lora_bias = false;
  std::string bias = "none";
  for (const reader& a : adapters) {
    const auto refuse_other = [&](const char* key, const reader& first) {
      throw invalid_argument(first.path().string() + " and " + a.path().string() + " differ in " +
                             key + ": " +
                             files::in_quotes(detail::field_of(first.config(), key).dump()) +
                             " and " + files::in_quotes(detail::field_of(a.config(), key).dump()));
    };
    for (const char* const key : {"alora_invocation_tokens", "layer_replication"}) {
      const bool both_without = !united.has(key) && !a.config().has(key);
      if (!both_without && detail::field_of(united, key) != detail::field_of(a.config(), key)) {
        refuse_other(key, adapters.front());
      }
    }
    const json saved = detail::field_of(a.config(), "modules_to_save");
    for (const json& name : saved.is_array() ? saved : json::array()) {
      if (std::find(to_save.begin(), to_save.end(), name) == to_save.end()) {
        to_save.push_back(name);
      }
    }
    if (a.config().has("trainable_token_indices")) {
      const json own = detail::field_of(a.config(), "trainable_token_indices");
      if (with_tokens != nullptr && own != tokens) {
        refuse_other("trainable_token_indices", *with_tokens);
      }
      tokens = own;
      with_tokens = &a;
    }
    lora_bias = lora_bias || a.config().has("lora_bias");
    const json own_bias = detail::field_of(a.config(), "bias");
    if (own_bias == "all" || (own_bias == "lora_only" && bias == "none")) {
      bias = own_bias.get<std::string>();
    }
    if (detail::field_of(united, "task_type").is_null()) {
      united.set("task_type", detail::field_of(a.config(), "task_type"));
    }
  }
  united.set("target_modules", std::move(modules));
  const auto set_if_known = [&](const char* key, const json& value, bool needed) {
    if (needed || united.fields().contains(key)) {
      united.set(key, value);
    }
  };
  for (const char* const key : {"exclude_modules", "layers_to_transform", "layers_pattern"}) {
    set_if_known(key, nullptr, false);
  }
  set_if_known("modules_to_save", to_save.empty() ? json() : to_save, !to_save.empty());
  set_if_known("trainable_token_indices", tokens, with_tokens != nullptr);
  set_if_known("lora_bias", lora_bias, lora_bias);
  set_if_known("bias", bias, bias != "none");
  return united;
}

}  // namespace preheat::peft
