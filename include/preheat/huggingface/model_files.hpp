// Which files of a model's folder go with it to a folder of the same model with other weights: the config, the
// tokenizer, templates, code, licenses; not weights in whatever format, nor what a trainer keeps.
#pragma once
#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <string_view>

namespace preheat::huggingface {

// By the name alone. Cost: O(length of the name).
inline bool goes_with_weights(const std::filesystem::path& file) {
  constexpr std::array<std::string_view, 12> weights = {
      ".safetensors", ".bin", ".pt",      ".pth",  ".ckpt",      ".gguf",
      ".h5",          ".npz", ".msgpack", ".onnx", ".onnx_data", ".ot"};
  const std::string name = file.filename().string();
  const std::string kind = file.extension().string();
  return !name.starts_with('.') && !name.ends_with(".index.json") &&
         name.find(".tmp-") == std::string::npos &&
         std::find(weights.begin(), weights.end(), kind) == weights.end();
}

}  // namespace preheat::huggingface
