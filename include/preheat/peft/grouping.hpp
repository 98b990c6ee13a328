// Which tensors of an adapter's file belong to which module, by their names, with shapes and scales
// checked. peft/reader.hpp says which names there are.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "../files/strict_json.hpp"
#include "../safetensors/tensor_info.hpp"
#include "../safetensors/tensor_values.hpp"
#include "../train/scaling.hpp"
#include "config.hpp"

namespace preheat::peft {

// How the name of every tensor in a PEFT folder begins; the module's name follows.
inline constexpr std::string_view module_prefix = "base_model.model.";

// The factors of one module. B·A is out×in. Names of absent tensors are empty.
struct adapter_layer {
  std::string module;
  std::string A;  // the names of its tensors
  std::string B;
  std::string bias;       // of B: the output has s·bias more
  std::string magnitude;  // of DoRA
  std::string alpha;
  index_t out = 0;
  index_t in = 0;
  index_t rank = 0;
  double scaling = 1;      // s
  bool embedding = false;  // W is in×out: the transpose of s·B·A is added to it
};

namespace detail {

enum class tensor_kind { A, B, bias, magnitude, alpha, embedding_A, embedding_B };

struct name_suffix {
  std::string_view text;
  tensor_kind kind;
};
inline constexpr std::array<name_suffix, 11> name_suffixes = {{
    {".lora_A.weight", tensor_kind::A},
    {".lora_B.weight", tensor_kind::B},
    {".lora_B.bias", tensor_kind::bias},
    {".lora_magnitude_vector", tensor_kind::magnitude},
    {".lora_magnitude_vector.weight", tensor_kind::magnitude},
    {".lora_embedding_A", tensor_kind::embedding_A},
    {".lora_embedding_B", tensor_kind::embedding_B},
    {".lora_down.weight", tensor_kind::A},
    {".lora_up.weight", tensor_kind::B},
    {".dora_scale", tensor_kind::magnitude},
    {".alpha", tensor_kind::alpha},
}};

// Puts a file's tensors together to layers. `config` is null for a kohya file.
class grouping {
 public:
  grouping(const safetensors::tensor_map& tensors, const config* settings, std::string source)
      : tensors_(tensors), config_(settings), source_(std::move(source)) {}

  // The layers by the name of their module, and the tensors that belong to none in `others`.
  std::vector<adapter_layer> layers(std::vector<std::string>& others) const {
    std::map<std::string, adapter_layer> found;
    for (const auto& entry : tensors_) {
      if (!sort_in(entry.first, found)) {
        others.push_back(entry.first);
      }
    }
    std::vector<adapter_layer> layers;
    for (auto& [module, layer] : found) {
      if (layer.A.empty() && layer.B.empty() && layer.bias.empty() && layer.magnitude.empty()) {
        others.push_back(layer.alpha);  // an alpha of something else
        continue;
      }
      layer.module = module;
      complete(layer);
      layers.push_back(std::move(layer));
    }
    if (layers.empty()) {
      throw io_error(source_ +
                     ": it has no LoRA tensors (lora_A and lora_B, or lora_down and lora_up)");
    }
    return layers;
  }

 private:
  [[noreturn]] void fail(const std::string& tensor, const std::string& problem) const {
    throw io_error(source_ + ": tensor " + files::in_quotes(tensor) + ": " + problem);
  }

  bool sort_in(const std::string& name, std::map<std::string, adapter_layer>& found) const {
    for (const name_suffix& suffix : name_suffixes) {
      if (!name.ends_with(suffix.text) || name.size() == suffix.text.size()) {
        continue;
      }
      std::string_view module = name;
      module.remove_suffix(suffix.text.size());
      if (module.starts_with(module_prefix)) {
        module.remove_prefix(module_prefix.size());
      }
      adapter_layer& layer = found[std::string(module)];
      std::string& place = place_of(suffix.kind, layer);
      if (!place.empty()) {
        fail(name, "it means the same as " + files::in_quotes(place));
      }
      place = name;
      if (suffix.kind == tensor_kind::embedding_A || suffix.kind == tensor_kind::embedding_B) {
        layer.embedding = true;
      }
      return true;
    }
    for (const std::string_view unknown :
         {".lora_mid.weight", ".lora_E", ".lora_A.default.weight"}) {
      if (name.ends_with(unknown)) {
        fail(name, "this kind of adapter is not understood");
      }
    }
    return false;
  }
  static std::string& place_of(tensor_kind kind, adapter_layer& layer) {
    switch (kind) {
      case tensor_kind::B:
      case tensor_kind::embedding_B:
        return layer.B;
      case tensor_kind::bias:
        return layer.bias;
      case tensor_kind::magnitude:
        return layer.magnitude;
      case tensor_kind::alpha:
        return layer.alpha;
      default:
        return layer.A;
    }
  }

  // Checks the layer's tensors against each other and the config, and fills in what they say.
  void complete(adapter_layer& layer) const {
    if (layer.A.empty() || layer.B.empty()) {
      const std::string& there = !layer.A.empty()      ? layer.A
                                 : !layer.B.empty()    ? layer.B
                                 : !layer.bias.empty() ? layer.bias
                                                       : layer.magnitude;
      fail(there, std::string("its partner ") + (layer.A.empty() ? "A" : "B") + " is missing");
    }
    const safetensors::tensor_info& A = factor(layer.A);
    const safetensors::tensor_info& B = factor(layer.B);
    layer.rank = A.shape[0];
    layer.in = A.count() / layer.rank;
    layer.out = B.shape[0];
    const bool flat =
        std::all_of(B.shape.begin() + 2, B.shape.end(), [](index_t e) { return e == 1; });
    if (B.shape[1] != layer.rank || !flat) {
      fail(layer.B, "its shape is (out, rank), the rank that of " + files::in_quotes(layer.A) +
                        ", " + std::to_string(layer.rank) + "; it is " +
                        safetensors::shape_text(B.shape));
    }
    vector(layer.bias, layer.out);
    vector(layer.magnitude, layer.out);
    if (config_ == nullptr) {
      layer.scaling = 1;
    } else {
      const index_t expected = config_->rank(layer.module);
      if (layer.rank != expected) {
        fail(layer.A, "its rank is " + std::to_string(layer.rank) + ", adapter_config.json says " +
                          std::to_string(expected));
      }
      layer.scaling = config_->scaling(layer.module);
      const bool dora = !layer.magnitude.empty();
      if (dora != config_->dora() && !layer.embedding) {
        fail(layer.A, dora ? "it has a magnitude vector, adapter_config.json says use_dora false"
                           : "it has no magnitude vector, adapter_config.json says use_dora true");
      }
    }
    if (!layer.alpha.empty()) {
      const safetensors::tensor_info& alpha = info(layer.alpha);
      double value = 0;
      if (alpha.count() != 1 || !safetensors::read_number(alpha, value) || !std::isfinite(value)) {
        fail(layer.alpha, "alpha is one finite number");
      }
      layer.scaling = config_ != nullptr
                          ? config_->scaling(value, layer.rank)
                          : scaling_of(scaling_rule::form::over_rank, value, layer.rank);
    }
  }

  const safetensors::tensor_info& info(const std::string& name) const {
    return tensors_.find(name)->second;
  }

  // A or B: floating-point, at least two dimensions, no empty one.
  const safetensors::tensor_info& factor(const std::string& name) const {
    const safetensors::tensor_info& tensor = info(name);
    floating(name, tensor);
    if (tensor.shape.size() < 2 || tensor.count() == 0) {
      fail(name, "it has two dimensions or more, none of them 0; its shape is " +
                     safetensors::shape_text(tensor.shape));
    }
    return tensor;
  }
  void vector(const std::string& name, index_t length) const {
    if (name.empty()) {
      return;
    }
    floating(name, info(name));
    if (info(name).count() != length) {
      fail(name, "it has one entry for each of the " + std::to_string(length) +
                     " outputs; its shape is " + safetensors::shape_text(info(name).shape));
    }
  }
  void floating(const std::string& name, const safetensors::tensor_info& tensor) const {
    if (!safetensors::is_floating(tensor.type)) {
      fail(name, "it is stored as " + std::string(safetensors::name_of(tensor.type)) +
                     "; F64, F32, F16 and BF16 are understood, quantized adapters are not");
    }
  }

  const safetensors::tensor_map& tensors_;
  const config* config_;
  std::string source_;
};

}  // namespace detail

}  // namespace preheat::peft
