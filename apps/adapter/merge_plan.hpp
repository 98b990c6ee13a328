// What a merge does to each tensor of a base: which tensors of which adapters go into it, and how.
#pragma once
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <preheat/peft/base_names.hpp>
#include <preheat/peft/further_tensors.hpp>
#include <preheat/peft/reader.hpp>

#include "base_model.hpp"
#include "factors.hpp"

namespace apps::adapter {

// An adapter and its weight.
struct weighted_adapter {
  const peft::reader* adapter = nullptr;
  double weight = 1;
};

struct merged_layer {
  const peft::reader* adapter = nullptr;
  const peft::adapter_layer* layer = nullptr;
  double weight = 1;
  bool transposed = false;  // the base stores in×out, for experts each of them
};

struct merged_tensor {
  const safetensors::tensor_files* from = nullptr;
  std::string name;
  double weight = 1;
};

// The result is ((saved or the base's tensor, with the tokens' rows) + differences + Σ w·s·B·A).
struct merged_weight {
  std::string base;  // the base's tensor, with the values and the dtype
  std::optional<merged_tensor> saved;
  bool saved_is_base = false;  // "base_layer": the values that the factors were trained on
  std::optional<merged_tensor> tokens;
  std::vector<index_t> token_rows;
  std::vector<merged_tensor> differences;
  std::vector<merged_layer> layers;
  std::vector<merged_layer> biases;  // of lora_B
};

struct merge_plan {
  std::map<std::string, merged_weight> weights;  // by the name in the merged model
  std::set<std::string> new_heads;               // of a tied model, which becomes untied
  std::vector<std::string> notes;
  std::size_t tensors = 0;  // of the adapters, all used
};

// Errors: invalid_argument, naming the tensor: of an adapter one that has no place in the base, or another
// shape, or that a weight cannot scale; of the base one that is quantized; an orientation that nothing
// decides.
merge_plan plan_merge(const std::vector<weighted_adapter>& adapters, const base_model& base,
                      const peft::name_map& map);

}  // namespace apps::adapter
