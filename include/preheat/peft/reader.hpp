// A LoRA adapter on the disk: a PEFT folder (adapter_config.json and adapter_model.safetensors), or a
// single file as kohya's sd-scripts write it (lora_down, lora_up, alpha). The reader finds which tensors
// belong to which module and checks shapes and scales; the numbers stay in the file.
//
//   PEFT    base_model.model.<module>.lora_A.weight (r, in)     .lora_B.weight (out, r)   .lora_B.bias
//           .lora_magnitude_vector (out) with DoRA              s = α/r or α/√r from the config
//           .lora_embedding_A (r, entries)                      .lora_embedding_B (dim, r)
//   kohya   <module>.lora_down.weight (r, in)                   .lora_up.weight (out, r)
//           .alpha, one number (without it α = r)               .dora_scale (out)         s = α/r
//
// A convolution has (r, in, height, width) and (out, r, 1, 1); its in is the product of the last
// three. An `alpha` tensor in a PEFT folder takes precedence over the config. The names of all other
// tensors in the file (modules_to_save) are in others().
#pragma once
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "../files/text_file.hpp"
#include "../safetensors/tensor_files.hpp"
#include "config.hpp"
#include "grouping.hpp"

namespace preheat::peft {

// Errors: io_error, naming the file and the tensor or field. Cost: O(headers).
// Const members may be called from several threads.
//
//   const preheat::peft::reader adapter("outputs/checkpoint-40");
//   for (const preheat::peft::adapter_layer& layer : adapter.layers()) {
//     std::cout << layer.module << ' ' << layer.rank << ' ' << layer.scaling << '\n';
//   }
class reader {
 public:
  // A folder, or a kohya file.
  explicit reader(const std::filesystem::path& path)
      : path_(path), config_(read_config(path)), files_(path, "adapter_model") {
    const detail::grouping modules(files_.tensors(), config_ ? &*config_ : nullptr,
                                   files_.source().string());
    layers_ = modules.layers(others_);
  }

  const std::filesystem::path& path() const { return path_; }
  bool is_folder() const { return config_.has_value(); }
  // Only of a folder.
  const peft::config& config() const {
    require(is_folder(), "only an adapter in a folder has a config");
    return *config_;
  }
  bool fan_in_fan_out() const { return config_ && config_->fan_in_fan_out(); }
  // Whether PEFT subtracts the adapter's start from the base when it loads the adapter.
  bool on_residual_base() const { return config_ && config_->on_residual_base(); }

  // By the name of the module.
  const std::vector<adapter_layer>& layers() const { return layers_; }
  // Null if the adapter has no such module.
  const adapter_layer* find(std::string_view module) const {
    const auto at = std::lower_bound(
        layers_.begin(), layers_.end(), module,
        [](const adapter_layer& layer, std::string_view name) { return layer.module < name; });
    return at != layers_.end() && at->module == module ? &*at : nullptr;
  }
  // The names of the tensors that belong to no layer.
  const std::vector<std::string>& others() const { return others_; }
  const safetensors::tensor_files& files() const { return files_; }

 private:
  static std::optional<peft::config> read_config(const std::filesystem::path& path) {
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
    return peft::config::parse(files::read_text_file(file, longest), file.string());
  }

  std::filesystem::path path_;
  std::optional<peft::config> config_;
  safetensors::tensor_files files_;
  std::vector<std::string> others_;
  std::vector<adapter_layer> layers_;
};

}  // namespace preheat::peft
