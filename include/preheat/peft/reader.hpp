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
// three. The names of all other tensors in the file (modules_to_save) are in others().
//
// A single file may have what PEFT has in adapter_config.json in its header (header_settings.hpp), or, as the
// adapter_model.safetensors of a folder, beside it. Two sources that say different scales are refused.
#pragma once
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
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
enum class experts { refused, understood };

class reader {
 public:
  // A folder, or a single file. Factors of 3-D parameters (target_parameters: adapter_layer::experts) are only for
  // who asks for them; else they are refused.
  explicit reader(const std::filesystem::path& path, experts wanted = experts::refused)
      : path_(path), files_(checked(path), "adapter_model") {
    read_config();
    for (settings_part& part : settings_of_header(files_.metadata(), files_.source().string())) {
      settings_.push_back(std::move(part));
    }
    const detail::grouping modules(files_.tensors(), settings_, files_.source().string(),
                                   is_folder());
    layers_ = modules.layers(others_);
    if (has("target_parameters") && wanted == experts::refused) {
      throw io_error(
          files_.source().string() +
          ": target_parameters is set; LoRA of experts in one tensor can be merged only");
    }
  }

  const std::filesystem::path& path() const { return path_; }
  // Whether there is an adapter_config.json: the path is a folder, or its adapter_model.safetensors.
  bool is_folder() const { return folder_; }
  // Only of a folder.
  const peft::config& config() const {
    require(is_folder(), "only an adapter in a folder has a config");
    return settings_.front().config;
  }
  // That config, and what the header of the file says.
  const std::vector<settings_part>& settings() const { return settings_; }
  bool fan_in_fan_out() const {
    return any_of([](const peft::config& c) { return c.fan_in_fan_out(); });
  }
  // Whether PEFT subtracts the adapter's start from the base when it loads the adapter.
  bool on_residual_base() const {
    return any_of([](const peft::config& c) { return c.on_residual_base(); });
  }
  // Whether a layer has magnitudes, in whatever kind of file.
  bool dora() const {
    return std::any_of(layers_.begin(), layers_.end(),
                       [](const adapter_layer& l) { return !l.magnitude.empty(); });
  }
  // Whether a config says something for this field.
  bool has(const char* field) const {
    return any_of([&](const peft::config& c) { return c.has(field); });
  }

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
  template <class Test>
  bool any_of(const Test& test) const {
    return std::any_of(settings_.begin(), settings_.end(),
                       [&](const settings_part& part) { return test(part.config); });
  }

  // The path, if it can be an adapter's. Errors: there is nothing, or a folder without an adapter.
  static const std::filesystem::path& checked(const std::filesystem::path& path) {
    if (!std::filesystem::exists(path)) {
      throw io_error(path.string() + ": no such file or folder");
    }
    if (!std::filesystem::is_directory(path)) {
      if (path.filename() == "adapter_config.json") {
        throw io_error(path.string() + ": give the folder that it is in");
      }
      if (safetensors::detail::format_of_other(path) == safetensors::detail::gguf_format) {
        throw io_error(path.string() + ": a GGUF adapter; `convert` makes a PEFT folder of it");
      }
      return path;
    }
    if (std::filesystem::exists(path / "adapter_config.json")) {
      return path;
    }
    std::string inside;  // PEFT keeps adapters of a name of their own in a folder of that name
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(path, ignored)) {
      if (std::filesystem::exists(entry.path() / "adapter_config.json", ignored)) {
        inside += (inside.empty() ? "" : ", ") + entry.path().string();
      }
    }
    throw io_error(path.string() + ": it has no adapter_config.json, so it is not a PEFT adapter" +
                   (inside.empty() ? "" : "; there is one in " + inside));
  }

  // The config in the folder; of a single file, the one beside it, if the file is of PEFT.
  void read_config() {
    constexpr std::size_t longest = 100'000'000;
    const std::filesystem::path folder =
        std::filesystem::is_directory(path_) ? path_ : path_.parent_path();
    const std::filesystem::path file = folder / "adapter_config.json";
    const bool of_peft =
        folder == path_ || path_.filename().string().starts_with("adapter_model.safetensors") ||
        std::any_of(files_.tensors().begin(), files_.tensors().end(),
                    [](const auto& entry) { return entry.first.starts_with(module_prefix); });
    if (!of_peft || !std::filesystem::exists(file)) {
      return;
    }
    folder_ = true;
    settings_.push_back({"",
                         peft::config::parse(files::read_text_file(file, longest), file.string()),
                         "adapter_config.json"});
  }

  std::filesystem::path path_;
  safetensors::tensor_files files_;
  bool folder_ = false;
  std::vector<settings_part> settings_;
  std::vector<std::string> others_;
  std::vector<adapter_layer> layers_;
};

}  // namespace preheat::peft
