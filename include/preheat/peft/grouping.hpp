// Which tensors of an adapter's file belong to which module, by their names, with shapes and scales
// checked. peft/reader.hpp says which names there are.
#pragma once
#include <algorithm>
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
#include "header_settings.hpp"
#include "tensor_names.hpp"

namespace preheat::peft {

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
  index_t experts =
      0;               // of a 3-D parameter (target_parameters), whose rank is that of all together
  double scaling = 1;  // s
  std::string adapter{};  // the adapter's name in the names of the tensors, "default"; mostly empty
  bool embedding = false;  // W is in×out: the transpose of s·B·A is added to it
};

namespace detail {

// Puts a file's tensors together to layers. `settings` are those of a folder's config, or of a file's
// header; those with the longest prefix that a module has count for it.
class grouping {
 public:
  grouping(const safetensors::tensor_map& tensors, const std::vector<settings_part>& settings,
           std::string source, bool folder)
      : tensors_(tensors), settings_(settings), source_(std::move(source)), folder_(folder) {}

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
      const auto has = [&](std::string_view part) {
        return std::any_of(tensors_.begin(), tensors_.end(), [&](const auto& entry) {
          return entry.first.find(part) != std::string::npos;
        });
      };
      const bool lycoris = has(".hada_") || has(".lokr_");
      throw io_error(source_ +
                     ": it has no LoRA tensors (lora_A and lora_B, or lora_down and lora_up)" +
                     (lycoris ? " but LoHa or LoKr, of which `convert` makes plain LoRA"
                      : tensors_.empty()
                          ? std::string()
                          : ", its first tensor is " + files::in_quotes(tensors_.begin()->first)));
    }
    return layers;
  }

 private:
  [[noreturn]] void fail(const std::string& tensor, const std::string& problem) const {
    throw io_error(source_ + ": tensor " + files::in_quotes(tensor) + ": " + problem);
  }

  bool sort_in(const std::string& name, std::map<std::string, adapter_layer>& found) const {
    if (const auto read = read_tensor_name(name)) {
      adapter_layer& layer = found[std::string(without_module_prefix(read->module))];
      std::string& place = place_of(read->kind, layer);
      if (!place.empty()) {
        fail(name, "it means the same as " + files::in_quotes(place) +
                       (read->adapter.empty() ? "" : "; the file has two adapters, keep one"));
      }
      place = name;
      if (!read->adapter.empty()) {
        layer.adapter = read->adapter;
      }
      if (read->kind == tensor_kind::embedding_A || read->kind == tensor_kind::embedding_B) {
        layer.embedding = true;
      }
      return true;
    }
    for (const std::string_view unknown : {".lora_mid.weight", ".lora_E"}) {
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
    if (layer.magnitude.ends_with(".dora_scale") && info(layer.magnitude).shape.size() > 1 &&
        info(layer.magnitude).shape[0] != layer.out) {
      fail(layer.magnitude, "it has one entry for each of the inputs; only DoRA along the " +
                                std::to_string(layer.out) +
                                " outputs is understood; its shape is " +
                                safetensors::shape_text(info(layer.magnitude).shape));
    }
    find_scaling(layer);
  }

  // s, from whatever says it: the alpha beside the factors, the config or the header. Errors: two of them
  // say different scales.
  void find_scaling(adapter_layer& layer) const {
    layer.scaling = 1;
    std::string said_in;
    const settings_part* first = nullptr;
    for (const settings_part& part : settings_) {
      const auto name = part.name_inside(layer.module);
      if (!name || (part.only_otherwise && (first != nullptr || !layer.alpha.empty()))) {
        continue;
      }
      check_settings(layer, part, *name);
      const double s = part.config.scaling(part.config.alpha(*name), rank_of_one(layer));
      if (first != nullptr && part.prefix.size() < first->prefix.size()) {
        continue;  // of the whole model, where a part has its own
      }
      if (first != nullptr && !agree(s, layer.scaling, 1e-6)) {
        disagree(layer, layer.scaling, first->said_in, s, part.said_in);
      }
      first = first == nullptr ? &part : first;
      layer.scaling = s;
    }
    if (layer.alpha.empty()) {
      return;
    }
    const safetensors::tensor_info& alpha = info(layer.alpha);
    double value = 0;
    if (alpha.count() != 1 || !safetensors::read_number(alpha, value) || !std::isfinite(value)) {
      fail(layer.alpha, "alpha is one finite number");
    }
    const double s = first != nullptr
                         ? first->config.scaling(value, rank_of_one(layer))
                         : scaling_of(scaling_rule::form::over_rank, value, layer.rank);
    constexpr double rounding_of_bf16 = 8e-3;
    const bool rounded =
        alpha.type != safetensors::dtype::F32 && alpha.type != safetensors::dtype::F64;
    if (first != nullptr && !agree(s, layer.scaling, rounded ? rounding_of_bf16 : 1e-5)) {
      disagree(layer, s, "its tensor .alpha", layer.scaling, first->said_in);
    }
    layer.scaling = first != nullptr && rounded ? layer.scaling : s;
  }
  static bool agree(double a, double b, double tolerance) {
    return std::abs(a - b) <= tolerance * std::max(std::abs(a), std::abs(b));
  }
  [[noreturn]] void disagree(const adapter_layer& layer, double a, const std::string& in_a,
                             double b, const std::string& in_b) const {
    fail(layer.A, "two scales: s = " + shown(a) + " by " + in_a + ", s = " + shown(b) + " by " +
                      in_b + "; correct one of them");
  }
  static std::string shown(double value) { return preheat::detail::shown_number(value).text(); }

  static index_t rank_of_one(const adapter_layer& layer) {
    return layer.experts > 0 ? layer.rank / layer.experts : layer.rank;
  }

  void check_settings(adapter_layer& layer, const settings_part& part,
                      const std::string& name) const {
    const index_t expected = part.config.rank(name);
    if (part.config.has("target_parameters") && part.has_rank && layer.rank > expected &&
        layer.rank % expected == 0) {
      layer.experts = layer.rank / expected;
      return;
    }
    if (part.has_rank && layer.rank != expected) {
      fail(layer.A, "its rank is " + std::to_string(layer.rank) + ", " + part.said_in + " says " +
                        std::to_string(expected));
    }
    const bool dora = !layer.magnitude.empty();
    if (dora != part.config.dora() && !layer.embedding && (folder_ || part.config.dora())) {
      fail(layer.A, std::string(dora ? "it has a" : "it has no") + " magnitude vector, " +
                        part.said_in + " says use_dora " + (dora ? "false" : "true"));
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
  const std::vector<settings_part>& settings_;
  std::string source_;
  bool folder_;
};

}  // namespace detail

}  // namespace preheat::peft
