// A base model: its tensors, and what its config.json says of how they are stored and shared.
#pragma once
#include <array>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include <preheat/files/strict_json.hpp>
#include <preheat/files/text_file.hpp>
#include <preheat/safetensors/tensor_files.hpp>

namespace apps::adapter {

namespace files = preheat::files;
namespace safetensors = preheat::safetensors;

// How a matrix is stored: [out, in], or as transformers' Conv1D (GPT-2) does, [in, out].
enum class layout { unknown, linear, conv1d };

class base_model {
 public:
  explicit base_model(const std::filesystem::path& path, layout given = layout::unknown)
      : tensors_(path), given_(given) {
    const std::filesystem::path file = folder() / "config.json";
    // A single file may lie beside the config of something else.
    const bool of_model = tensors_.source().filename().string().starts_with("model");
    if (of_model && std::filesystem::exists(file)) {
      constexpr std::size_t longest = 10'000'000;
      constexpr std::size_t deepest = 64;
      config_ = files::parse_strict_json<nlohmann::ordered_json>(
          files::read_text_file(file, longest), file.string(), deepest);
    }
  }

  const safetensors::tensor_files& tensors() const { return tensors_; }
  std::filesystem::path folder() const {
    const std::filesystem::path parent = tensors_.source().parent_path();
    return parent.empty() ? std::filesystem::path(".") : parent;
  }
  // Null if the model has none.
  const nlohmann::ordered_json& config() const { return config_; }

  // Whether the head is the embedding: by config.json, which mostly says so although the file has both.
  bool tied() const {
    const auto says = [](const nlohmann::ordered_json& c) {
      return c.is_object() && c.contains("tie_word_embeddings") && c["tie_word_embeddings"] == true;
    };
    return says(config_) ||
           (config_.is_object() && config_.contains("text_config") && says(config_["text_config"]));
  }

  // How the module's matrix is stored, by what the caller said, the kind of model, or, for names that
  // GPT-2's layers and others have, the shapes beside it.
  layout stored_as(const std::string& module) const {
    const std::size_t dot = module.rfind('.');
    const std::string last = dot == std::string::npos ? module : module.substr(dot + 1);
    const bool named_so =
        last == "c_attn" || last == "c_proj" || last == "c_fc" || last == "q_attn";
    if (config_.is_object() && config_.contains("model_type") &&
        config_["model_type"].is_string()) {
      const std::string type = config_["model_type"].get<std::string>();
      for (const char* const conv1d : {"gpt2", "openai-gpt", "imagegpt", "decision_transformer"}) {
        if (type == conv1d) {
          return named_so ? layout::conv1d : layout::linear;
        }
      }
      return layout::linear;
    }
    if (given_ != layout::unknown) {
      return given_;
    }
    if (!named_so) {
      return layout::unknown;
    }
    // c_attn makes 3·n of n, c_fc mostly 4·n.
    const std::size_t above =
        dot == std::string::npos || dot == 0 ? std::string::npos : module.rfind('.', dot - 1);
    const std::string block = above == std::string::npos ? "" : module.substr(0, above + 1);
    for (const char* const sibling : {"attn.c_attn.weight", "mlp.c_fc.weight"}) {
      const std::string name = block + sibling;
      if (tensors_.contains(name) && tensors_.info(name).shape.size() == 2) {
        const auto& shape = tensors_.info(name).shape;
        if (shape[0] != shape[1]) {
          return shape[0] < shape[1] ? layout::conv1d : layout::linear;
        }
      }
    }
    return layout::unknown;
  }

 private:
  safetensors::tensor_files tensors_;
  layout given_;
  nlohmann::ordered_json config_;
};

// Whether a module's name is that of an embedding. Its matrix has a row for each entry.
inline bool is_embedding(const std::string& module) {
  const std::string last = module.substr(module.rfind('.') + 1);
  for (const char* const name : {"wte", "wpe", "shared", "embed_in"}) {
    if (last == name) {
      return true;
    }
  }
  return last != "embed_out" && (last.find("embed") != std::string::npos);
}

}  // namespace apps::adapter
