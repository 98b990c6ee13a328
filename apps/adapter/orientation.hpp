// Whether a base stores a layer's matrix as [out, in] or as [in, out], as embeddings and GPT-2's Conv1D are.
// PEFT sets fan_in_fan_out layer by layer as it loads, and saves what the last layer had; so the shapes
// decide, then the kind of model, then, for square matrices of models without a config, the adapter's flag.
//
// Errors: invalid_argument, naming the module: the shapes do not fit; nothing decides.
#pragma once
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include <preheat/peft/base_names.hpp>
#include <preheat/peft/reader.hpp>
#include <preheat/peft/united_config.hpp>

#include "base_model.hpp"
#include "factors.hpp"
#include "outputs.hpp"

namespace apps::adapter {

// Whether the base stores the layer's W as in×out, in the tensor `name`.
inline bool is_transposed(const peft::reader& adapter, const peft::adapter_layer& l,
                          const base_model& base, const peft::base_names& names,
                          const std::string& name) {
  const safetensors::tensor_info& W = base.tensors().info(name);
  const bool whole = !W.shape.empty() && W.count() == l.in * l.out;
  const bool straight = whole && W.shape[0] == l.out;
  const bool turned = whole && W.shape.size() == 2 && W.shape[0] == l.in;
  const layout stored = base.stored_as(l.module);
  if (l.embedding ? !turned : !straight && !turned) {
    throw preheat::invalid_argument(
        "module " + l.module + ": B·A is " + std::to_string(l.out) + "×" + std::to_string(l.in) +
        (l.embedding ? " and an embedding is stored as its transpose" : "") +
        ", the base's weight \"" + name + "\" is " + safetensors::shape_text(W.shape) +
        (l.out != W.shape[0] && W.shape.size() == 2 && l.in == W.shape[1]
             ? "; was the vocabulary resized? resize the base's first"
             : ""));
  }
  if (l.embedding || !straight || !turned) {
    return !straight || l.embedding;
  }
  if (stored != layout::unknown) {
    return stored == layout::conv1d;
  }
  if (!adapter.fan_in_fan_out() && !is_named_as_conv1d(l.module)) {
    return false;
  }
  // The adapter's other layers, by their shapes.
  std::size_t straight_ones = 0;
  for (const peft::adapter_layer& other : adapter.layers()) {
    const auto there = names.find(other.module, ".weight");
    if (there && !other.embedding && other.out != other.in) {
      const safetensors::tensor_info& M = base.tensors().info(*there);
      straight_ones += !M.shape.empty() && M.shape[0] == other.out ? 1 : 0;
    }
  }
  if (adapter.fan_in_fan_out() && straight_ones == 0) {
    return true;
  }
  throw preheat::invalid_argument(
      "module " + l.module + ": the base's weight is square, " + safetensors::shape_text(W.shape) +
      ", so its shape does not say whether it is stored [out, in] or, as GPT-2's Conv1D, [in, "
      "out], "
      "and the base has no config.json that does; say --layout linear or --layout conv1d");
}

// A 3-D parameter of a base, [experts, out, in] or [experts, in, out].
struct found_experts {
  std::string name;
  bool transposed = false;  // in×out
};

// The one of target_parameters that a layer's shapes fit. PEFT nests the wrappers of one module as base_layer.
inline found_experts find_experts(const peft::reader& adapter, const peft::adapter_layer& l,
                                  const base_model& base, const peft::base_names& names) {
  std::string module = l.module;
  const std::string nested = ".base_layer";
  while (module.ends_with(nested)) {
    module.erase(module.size() - nested.size());
  }
  const bool gpt_oss =
      base.config().is_object() && base.config().value("model_type", "") == "gpt_oss";
  std::map<std::string, found_experts> fitting;
  for (const peft::settings_part& part : adapter.settings()) {
    for (const auto& target : peft::detail::field_of(part.config, "target_parameters")) {
      const std::string parameter = target.is_string() ? target.get<std::string>() : "";
      const auto name = names.find(module, "." + parameter.substr(parameter.rfind('.') + 1));
      if (!name) {
        continue;
      }
      const std::vector<index_t>& shape = base.tensors().info(*name).shape;
      const bool straight = shape == std::vector<index_t>{l.experts, l.out, l.in};
      const bool turned = shape == std::vector<index_t>{l.experts, l.in, l.out};
      if (straight || turned) {
        fitting[*name] = {*name, turned && (!straight || gpt_oss)};
      }
    }
  }
  refuse_if(fitting.size() != 1,
            "module " + l.module + ": " + std::to_string(l.experts) + " experts of " +
                std::to_string(l.out) + "×" + std::to_string(l.in) + " fit " +
                (fitting.empty() ? "none" : "several") + " of target_parameters in the base" +
                safetensors::detail::similar_names(base.tensors().tensors(), module));
  return fitting.begin()->second;
}

}  // namespace apps::adapter
