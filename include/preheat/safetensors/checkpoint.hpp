// The state of a training run in a file, so that it can go on where it stopped.
//
//   fit_options options{.rank = 4, .steps = 1000};
//   options.checkpoint_every = 100;
//   options.checkpoint = safetensors::checkpoint_to("run.safetensors");
//   std::optional<training_state> state = safetensors::load_checkpoint("run.safetensors");
//   options.resume = state ? &*state : nullptr;
//   auto report = fit(m, network, batches, options);
//
// The file is a safetensors file with a tensor an entry of the state, and replaces the one before it only
// when it is whole. An entry is stored in float32 if that has all its numbers, as those of a backend of
// floats, and in float64 otherwise: what is loaded is what was saved, bit by bit.
#pragma once
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>

#include "../core/archive.hpp"
#include "safetensors.hpp"

namespace preheat::safetensors {

namespace detail {
inline dtype smallest_exact(std::span<const double> values) {
  const bool floats = std::all_of(values.begin(), values.end(), [](double x) {
    const bool in_range = std::abs(x) <= std::numeric_limits<float>::max() || std::isinf(x);
    return in_range && double(static_cast<float>(x)) == x;
  });
  return floats ? dtype::F32 : dtype::F64;
}
}  // namespace detail

inline void save_checkpoint(const training_state& state, const std::filesystem::path& path) {
  writer writer;
  writer.metadata("format", "preheat training state, version 1");
  for (const auto& [name, m] : state.entries) {
    const std::span<const double> values(m.values);
    writer.add_column_major<double>(name, m.rows, m.cols, values, detail::smallest_exact(values));
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
