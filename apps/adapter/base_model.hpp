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

// Whether a module has a name that GPT-2's Conv1D has, and others.
inline bool is_named_as_conv1d(const std::string& module) {
  const std::string last = module.substr(module.rfind('.') + 1);
  return last == "c_attn" || last == "c_proj" || last == "c_fc" || last == "q_attn";
}

class base_model {
 public:
  // Errors: io_error, naming the file: no model, or one shard of a model whose index lies beside it.
  explicit base_model(const std::filesystem::path& path, layout given = layout::unknown)
      : tensors_(path, stem_in(path)), given_(given) {
    const std::string name = tensors_.source().filename().string();
    const std::size_t shard = name.find("-of-");
    if (shard != std::string::npos && name.ends_with(".safetensors")) {
      const std::string index =
          name.substr(0, name.rfind('-', shard - 1)) + ".safetensors.index.json";
      if (std::filesystem::exists(folder() / index)) {
        throw preheat::io_error(tensors_.source().string() +
                                ": one file of several; give their index, " + index +
                                ", or the folder");
      }
    }
    const std::filesystem::path file = folder() / "config.json";
    if (is_of_folder() && std::filesystem::exists(file)) {
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
  // Whether the files beside it are this model's: a single file may lie beside something else.
  bool is_of_folder() const {
    const std::string name = tensors_.source().filename().string();
    return name.starts_with("model") || name.starts_with(diffusers_stem);
  }
  // Null if the model has none.
  const nlohmann::ordered_json& config() const { return config_; }

  // Whether the head is the embedding: by config.json, which mostly says so although the file has both. Where it
  // says nothing (GPT-2, Gemma, T5), by a file that has an embedding and no head.
  bool tied() const {
    if (!config_.is_object()) {
      return false;
    }
    const char* const key = "tie_word_embeddings";
    const nlohmann::ordered_json* said = config_.contains(key) ? &config_[key] : nullptr;
    if (config_.contains("text_config") && config_["text_config"].is_object() &&
        config_["text_config"].contains(key) && (said == nullptr || *said != true)) {
      said = &config_["text_config"][key];
    }
    return said != nullptr ? *said == true : !has_head() && !embedding().empty();
  }

  // The tensor of the embedding of the words; empty if there is none of a usual name.
  std::string embedding() const {
    for (const char* const name : {"embed_tokens.weight", "wte.weight", "word_embeddings.weight",
                                   "embed_in.weight", "shared.weight"}) {
      for (const auto& tensor : tensors_.tensors()) {
        if (tensor.first == name || tensor.first.ends_with(std::string(".") + name)) {
          return tensor.first;
        }
      }
    }
    return "";
  }

  // How the module's matrix is stored, by what the caller said, the kind of model, or, for names that
  // GPT-2's layers and others have, the shapes beside it.
  layout stored_as(const std::string& module) const {
    const std::size_t dot = module.rfind('.');
    const bool named_so = is_named_as_conv1d(module);
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
  static constexpr std::string_view diffusers_stem = "diffusion_pytorch_model";

  static std::string stem_in(const std::filesystem::path& path) {
    const std::string stem(diffusers_stem);
    const bool of_diffusers = std::filesystem::exists(path / (stem + ".safetensors")) ||
                              std::filesystem::exists(path / (stem + ".safetensors.index.json"));
    return of_diffusers ? stem : "model";
  }
  bool has_head() const {
    for (const auto& tensor : tensors_.tensors()) {
      for (const char* const head : {"lm_head.weight", "embed_out.weight", "score.weight"}) {
        if (tensor.first.ends_with(head)) {
          return true;
        }
      }
    }
    return false;
  }

  safetensors::tensor_files tensors_;
  layout given_;
  nlohmann::ordered_json config_;
};

// Whether the base stores a module's matrix as in×out. Errors: nothing says it, and the name is GPT-2's.
inline bool is_conv1d(const base_model& base, const std::string& module) {
  const layout stored = base.stored_as(module);
  if (stored == layout::unknown && is_named_as_conv1d(module)) {
    throw preheat::invalid_argument(
        "module " + module +
        ": nothing says whether the base stores it [out, in] or, as GPT-2's Conv1D, [in, out]; say "
        "--layout linear or --layout conv1d");
  }
  return stored == layout::conv1d;
}

// Whether a module's name is that of an embedding. Its matrix has a row for each entry.
inline bool is_embedding(const std::string& module) {
  const std::string last = module.substr(module.rfind('.') + 1);
  for (const char* const name : {"wte", "wpe", "shared", "embed_in", "relative_attention_bias"}) {
    if (last == name) {
      return true;
    }
  }
  return last != "embed_out" && (last.find("embed") != std::string::npos);
}

}  // namespace apps::adapter
