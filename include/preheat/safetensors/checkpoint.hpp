// The state of a training run in a file, so that it can go on where it stopped.
//
//   fit_options options{.rank = 4, .steps = 1000};
//   options.checkpoint_every = 100;
//   options.checkpoint = safetensors::checkpoint_to("run.safetensors");
//   std::optional<training_state> state = safetensors::load_checkpoint("run.safetensors");
//   options.resume = state ? &*state : nullptr;
//   auto report = fit(m, network, batches, options);
//
// The file is a safetensors file of float64 tensors, one an entry of the state, and replaces the
// one before it only when it is whole.
#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "../core/archive.hpp"
#include "safetensors.hpp"

namespace preheat::safetensors {

inline void save_checkpoint(const training_state& state, const std::filesystem::path& path) {
  writer writer;
  writer.metadata("format", "preheat training state, version 1");
  for (const auto& [name, m] : state.entries) {
    writer.add_column_major<double>(name, m.rows, m.cols, std::span<const double>(m.values));
  }
  writer.write(path);
}

// A value for fit_options::checkpoint.
inline std::function<void(const training_state&)> checkpoint_to(const std::filesystem::path& path) {
  return [path](const training_state& state) { save_checkpoint(state, path); };
}

// Nothing if there is no such file. Errors: io_error if it cannot be read or is not a checkpoint.
inline std::optional<training_state> load_checkpoint(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) {
    return std::nullopt;
  }
  const reader file(path);
  const auto format = file.metadata().find("format");
  if (format == file.metadata().end() || !format->second.starts_with("preheat training state")) {
    throw io_error(path.string() + " is not a checkpoint of preheat");
  }
  training_state state;
  for (const std::string& name : file.names()) {
    const auto& shape = file.info(name).shape;
    if (shape.size() != 2) {
      throw io_error(path.string() + ": the checkpoint's entry '" + name + "' is not a matrix");
    }
    state.entries[name] = {shape[0], shape[1], file.column_major<double>(name)};
  }
  return state;
}

}  // namespace preheat::safetensors
