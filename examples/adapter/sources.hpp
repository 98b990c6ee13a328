// Adapters that go into one: what they must have in common, and the terms of every module.
#pragma once
#include <algorithm>
#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "factors.hpp"
#include "output.hpp"

namespace adapters {

// Whether s·B·A belongs to a base from which something was taken away at the start.
inline bool on_residual_base(const io::peft_adapter& adapter) {
  if (!adapter.is_folder()) {
    return false;
  }
  const std::string init = adapter.config().init();
  for (const char* const residual : {"pissa", "olora", "corda", "lora_ga", "loftq"}) {
    if (init.starts_with(residual)) {
      return true;
    }
  }
  return false;
}

inline void require_plain(const io::peft_adapter& adapter) {
  if (on_residual_base(adapter)) {
    throw preheat::invalid_argument(
        adapter.path().string() + ": init_lora_weights is \"" + adapter.config().init() +
        "\", so this adapter belongs to a residual base; make it plain LoRA first: convert DIR "
        "--initial DIR0");
  }
}

// Two adapters whose layers are to be put together.
inline void require_same_kind(const io::peft_adapter& a, const io::peft_adapter& b) {
  const auto require_equal = [&](bool equal, const std::string& what) {
    if (!equal) {
      throw preheat::invalid_argument(a.path().string() + " and " + b.path().string() +
                                      " differ in " + what);
    }
  };
  require_equal(a.is_folder() == b.is_folder(), "kind: a PEFT folder and a kohya file");
  require_equal(a.fan_in_fan_out() == b.fan_in_fan_out(), "fan_in_fan_out");
}

// The terms of each module that any of the adapters has, each with weight·s on A.
inline std::map<std::string, std::vector<term>> terms_by_module(
    const std::vector<io::peft_adapter>& adapters, const std::vector<double>& weights) {
  std::map<std::string, std::vector<term>> all;
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    for (const io::peft_layer& l : adapters[i].layers()) {
      std::vector<term>& terms = all[l.module];
      if (!terms.empty()) {
        const io::peft_layer& first = *terms.front().layer;
        if (first.out != l.out || first.in != l.in || first.embedding != l.embedding) {
          throw preheat::invalid_argument("module " + l.module + ": " + std::to_string(first.out) +
                                          "×" + std::to_string(first.in) + " in " +
                                          terms.front().adapter->path().string() + ", " +
                                          std::to_string(l.out) + "×" + std::to_string(l.in) +
                                          " in " + adapters[i].path().string());
        }
      }
      terms.push_back({&adapters[i], &l, weights[i] * l.scaling, 1});
    }
  }
  return all;
}

// What goes with the layers: tensors of modules_to_save, and a single adapter's DoRA magnitudes. Errors:
// two adapters have the same tensor, with other contents.
inline std::vector<copied_tensor> passed_through(std::span<const io::peft_adapter> adapters) {
  std::map<std::string, const io::tensor_files*> from;
  for (const io::peft_adapter& a : adapters) {
    std::vector<std::string> names = a.others();
    for (const io::peft_layer& l : a.layers()) {
      if (!l.magnitude.empty()) {
        names.push_back(l.magnitude);
      }
    }
    for (const std::string& name : names) {
      const auto [known, is_new] = from.try_emplace(name, &a.files());
      if (!is_new &&
          !std::ranges::equal(known->second->info(name).bytes, a.files().info(name).bytes)) {
        throw preheat::invalid_argument("tensor \"" + name + "\" is in " +
                                        known->second->source().string() + " and, different, in " +
                                        a.files().source().string());
      }
    }
  }
  std::vector<copied_tensor> copied;
  for (const auto& [name, files] : from) {
    copied.push_back({files, name});
  }
  return copied;
}

// An empty plan in the layout of the adapter.
inline adapter_plan plan_like(const io::peft_adapter& adapter) {
  adapter_plan plan;
  if (adapter.is_folder()) {
    plan.config = adapter.config();
  } else {
    plan.metadata = adapter.files().metadata();
  }
  return plan;
}

}  // namespace adapters
