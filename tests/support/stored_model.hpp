// A small checkpoint as Hugging Face saves it, config.json and model.safetensors, that a test then breaks;
// and the error with which a broken one is refused.
#pragma once
#include <doctest/doctest.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <preheat/safetensors/safetensors.hpp>
#include <string>
#include <utility>
#include <vector>

#include "scratch.hpp"

namespace conformance {

struct stored_tensor {
  std::vector<preheat::index_t> shape;
  std::vector<float> values;
};

struct stored_model {
  nlohmann::json config;
  std::map<std::string, stored_tensor> tensors;  // without the prefix

  void add(const std::string& name, std::vector<preheat::index_t> shape) {
    preheat::index_t count = 1;
    for (const preheat::index_t extent : shape) {
      count *= extent;
    }
    stored_tensor tensor{std::move(shape), std::vector<float>(std::size_t(count))};
    for (std::size_t i = 0; i < tensor.values.size(); ++i) {
      tensor.values[i] = float((7 * i + tensors.size()) % 31) / 16 - 1;  // exact in half precision
    }
    tensors[name] = std::move(tensor);
  }
  // prefix_of(name) is what stands before the name in the file.
  template <class Prefix>
  void write_with(const std::filesystem::path& folder, const Prefix& prefix_of,
                  preheat::safetensors::dtype type) const {
    std::filesystem::create_directories(folder);
    scratch::write_file(folder / "config.json", config.dump());
    preheat::safetensors::writer writer;
    for (const auto& [name, tensor] : tensors) {
      writer.add<float>(prefix_of(name) + name, tensor.shape, tensor.values, type);
    }
    writer.write(folder / "model.safetensors");
  }
};

// The error of read(folder), which names the folder; or a note that there was none.
template <class Model, class Read>
std::string refusal_of_model(const Model& m, const Read& read) {
  const scratch::temporary_directory folder;
  m.write(folder.path());
  std::string text = "nothing was thrown";
  try {
    read(folder.path());
  } catch (const preheat::io_error& error) {
    text = error.what();
    CHECK(text.find(folder.path().string()) != std::string::npos);  // the file
  }
  return text;
}
inline void check_words(const std::string& text, const std::string& words) {
  CAPTURE(words);
  CAPTURE(text);
  CHECK(text.find(words) != std::string::npos);
}

}  // namespace conformance
