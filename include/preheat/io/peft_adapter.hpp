// A LoRA adapter on the disk: a PEFT folder (adapter_config.json and adapter_model.safetensors), or a
// single file as kohya's sd-scripts write it (lora_down, lora_up, alpha). Which tensors belong to
// which module, with shapes and scales checked; the numbers stay in the file.
//
//   PEFT    base_model.model.<module>.lora_A.weight (r, in)     .lora_B.weight (out, r)   .lora_B.bias
//           .lora_magnitude_vector (out) with DoRA              s = α/r or α/√r from the config
//           .lora_embedding_A (r, entries)                      .lora_embedding_B (dim, r)
//   kohya   <module>.lora_down.weight (r, in)                   .lora_up.weight (out, r)
//           .alpha, one number (without it α = r)               .dora_scale (out)         s = α/r
//
// A convolution has (r, in, height, width) and (out, r, 1, 1); its in is the product of the last
// three. An `alpha` tensor in a PEFT folder counts before the config. Everything else in the file
// (modules_to_save) is listed, to be passed through.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "peft_config.hpp"
#include "tensor_files.hpp"
#include "tensor_values.hpp"

namespace preheat::io {

// The factors of one module. B·A is out×in. Names of absent tensors are empty.
struct peft_layer {
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

enum class peft_part { A, B, bias, magnitude, alpha, embedding_A, embedding_B };

struct peft_suffix {
  std::string_view text;
  peft_part part;
};
inline constexpr std::array<peft_suffix, 11> peft_suffixes = {{
    {".lora_A.weight", peft_part::A},
    {".lora_B.weight", peft_part::B},
    {".lora_B.bias", peft_part::bias},
    {".lora_magnitude_vector", peft_part::magnitude},
    {".lora_magnitude_vector.weight", peft_part::magnitude},
    {".lora_embedding_A", peft_part::embedding_A},
    {".lora_embedding_B", peft_part::embedding_B},
    {".lora_down.weight", peft_part::A},
    {".lora_up.weight", peft_part::B},
    {".dora_scale", peft_part::magnitude},
    {".alpha", peft_part::alpha},
}};

inline constexpr std::string_view peft_prefix = "base_model.model.";

// Puts a file's tensors together to layers. `config` is null for a kohya file.
class peft_grouping {
 public:
  peft_grouping(const tensor_map& tensors, const peft_config* config, std::string source)
      : tensors_(tensors), config_(config), source_(std::move(source)) {}

  // The layers by the name of their module, and the tensors that belong to none in `others`.
  std::vector<peft_layer> layers(std::vector<std::string>& others) const {
    std::map<std::string, peft_layer> found;
    for (const auto& entry : tensors_) {
      if (!sort_in(entry.first, found)) {
        others.push_back(entry.first);
      }
    }
    std::vector<peft_layer> layers;
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
    throw io_error(source_ + ": tensor " + in_quotes(tensor) + ": " + problem);
  }

  bool sort_in(const std::string& name, std::map<std::string, peft_layer>& found) const {
    for (const peft_suffix& suffix : peft_suffixes) {
      if (!name.ends_with(suffix.text) || name.size() == suffix.text.size()) {
        continue;
      }
      std::string_view module = name;
      module.remove_suffix(suffix.text.size());
      if (module.starts_with(peft_prefix)) {
        module.remove_prefix(peft_prefix.size());
      }
      peft_layer& layer = found[std::string(module)];
      std::string& place = place_of(suffix.part, layer);
      if (!place.empty()) {
        fail(name, "it means the same as " + in_quotes(place));
      }
      place = name;
      if (suffix.part == peft_part::embedding_A || suffix.part == peft_part::embedding_B) {
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
  static std::string& place_of(peft_part part, peft_layer& layer) {
    switch (part) {
      case peft_part::B:
      case peft_part::embedding_B:
        return layer.B;
      case peft_part::bias:
        return layer.bias;
      case peft_part::magnitude:
        return layer.magnitude;
      case peft_part::alpha:
        return layer.alpha;
      default:
        return layer.A;
    }
  }

  // Checks the layer's tensors against each other and the config, and fills in what they say.
  void complete(peft_layer& layer) const {
    if (layer.A.empty() || layer.B.empty()) {
      const std::string& there = !layer.A.empty()      ? layer.A
                                 : !layer.B.empty()    ? layer.B
                                 : !layer.bias.empty() ? layer.bias
                                                       : layer.magnitude;
      fail(there, std::string("its partner ") + (layer.A.empty() ? "A" : "B") + " is missing");
    }
    const tensor_info& A = factor(layer.A);
    const tensor_info& B = factor(layer.B);
    layer.rank = A.shape[0];
    layer.in = A.count() / layer.rank;
    layer.out = B.shape[0];
    const bool flat =
        std::all_of(B.shape.begin() + 2, B.shape.end(), [](index_t e) { return e == 1; });
    if (B.shape[1] != layer.rank || !flat) {
      fail(layer.B, "its shape is (out, rank), the rank that of " + in_quotes(layer.A) + ", " +
                        std::to_string(layer.rank) + "; it is " + shape_text(B.shape));
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
      const tensor_info& alpha = info(layer.alpha);
      double value = 0;
      if (alpha.count() != 1 || !read_number(alpha, value) || !std::isfinite(value)) {
        fail(layer.alpha, "alpha is one finite number");
      }
      layer.scaling =
          config_ != nullptr ? config_->scaling(value, layer.rank) : value / double(layer.rank);
    }
  }

  const tensor_info& info(const std::string& name) const { return tensors_.find(name)->second; }

  // A or B: floating-point, at least two dimensions, no empty one.
  const tensor_info& factor(const std::string& name) const {
    const tensor_info& tensor = info(name);
    floating(name, tensor);
    if (tensor.shape.size() < 2 || tensor.count() == 0) {
      fail(name, "it has two dimensions or more, none of them 0; its shape is " +
                     shape_text(tensor.shape));
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
                     " outputs; its shape is " + shape_text(info(name).shape));
    }
  }
  void floating(const std::string& name, const tensor_info& tensor) const {
    if (!is_floating(tensor.type)) {
      fail(name, "it is stored as " + std::string(name_of(tensor.type)) +
                     "; F64, F32, F16 and BF16 are understood, quantized adapters are not");
    }
  }

  const tensor_map& tensors_;
  const peft_config* config_;
  std::string source_;
};

}  // namespace detail

// Errors: io_error, naming the file and the tensor or field. Cost: O(headers).
// Const members may be called from several threads.
//
//   const preheat::io::peft_adapter adapter("outputs/checkpoint-40");
//   for (const preheat::io::peft_layer& layer : adapter.layers()) {
//     std::cout << layer.module << ' ' << layer.rank << ' ' << layer.scaling << '\n';
//   }
class peft_adapter {
 public:
  // A folder, or a kohya file.
  explicit peft_adapter(const std::filesystem::path& path)
      : path_(path), config_(read_config(path)), files_(path, "adapter_model") {
    const detail::peft_grouping grouping(files_.tensors(), config_ ? &*config_ : nullptr,
                                         files_.source().string());
    layers_ = grouping.layers(others_);
  }

  const std::filesystem::path& path() const { return path_; }
  bool is_folder() const { return config_.has_value(); }
  // Only of a folder.
  const peft_config& config() const {
    require(is_folder(), "only an adapter in a folder has a config");
    return *config_;
  }
  bool fan_in_fan_out() const { return config_ && config_->fan_in_fan_out(); }

  // By the name of the module.
  const std::vector<peft_layer>& layers() const { return layers_; }
  // Null if the adapter has no such module.
  const peft_layer* find(std::string_view module) const {
    const auto at = std::lower_bound(
        layers_.begin(), layers_.end(), module,
        [](const peft_layer& layer, std::string_view name) { return layer.module < name; });
    return at != layers_.end() && at->module == module ? &*at : nullptr;
  }
  // The names of the tensors that belong to no layer.
  const std::vector<std::string>& others() const { return others_; }
  const tensor_files& files() const { return files_; }

 private:
  static std::optional<peft_config> read_config(const std::filesystem::path& path) {
    constexpr std::size_t longest = 10'000'000;
    if (!std::filesystem::exists(path)) {
      throw io_error(path.string() + ": no such file or folder");
    }
    if (!std::filesystem::is_directory(path)) {
      return std::nullopt;
    }
    const std::filesystem::path file = path / "adapter_config.json";
    if (!std::filesystem::exists(file)) {
      throw io_error(path.string() +
                     ": it has no adapter_config.json, so it is not a PEFT adapter");
    }
    return peft_config::parse(read_text_file(file, longest), file.string());
  }

  std::filesystem::path path_;
  std::optional<peft_config> config_;
  tensor_files files_;
  std::vector<std::string> others_;
  std::vector<peft_layer> layers_;
};

}  // namespace preheat::io
