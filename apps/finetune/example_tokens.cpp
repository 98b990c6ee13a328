// Examples that are tokens already, in a safetensors file.
#include <cstdint>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include <preheat/files/strict_json.hpp>
#include <preheat/safetensors/safetensors.hpp>

#include "example_readers.hpp"

namespace apps::finetune {
namespace {

namespace files = preheat::files;
using preheat::io_error;
using preheat::nn::not_counted;

// A tensor of whole numbers [rows, columns].
std::vector<index_t> whole_numbers(const preheat::safetensors::reader& file,
                                   const std::string& source, const char* name,
                                   std::vector<index_t>& shape) {
  if (!file.contains(name)) {
    throw io_error(source + ": there is no tensor \"" + name +
                   "\"; a file of tokens has input_ids and labels, and attention_mask if it is "
                   "padded");
  }
  const auto& tensor = file.info(name);
  using preheat::safetensors::dtype;
  const bool long_integers = tensor.type == dtype::I64;
  if ((!long_integers && tensor.type != dtype::I32) || tensor.shape.size() != 2 ||
      (!shape.empty() && tensor.shape != shape)) {
    throw io_error(source + ": tensor \"" + name +
                   "\" has shape [rows, tokens], the same for all, and type I64 or I32");
  }
  shape = tensor.shape;
  std::vector<index_t> values(std::size_t(tensor.count()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (long_integers) {
      std::memcpy(&values[i], tensor.bytes.data() + i * 8, 8);
    } else {
      std::int32_t value = 0;
      std::memcpy(&value, tensor.bytes.data() + i * 4, 4);
      values[i] = value;
    }
  }
  return values;
}

}  // namespace

void read_tokens(const std::filesystem::path& path, const base_model& model,
                 const reading_options& o, example_set& set) {
  const preheat::safetensors::reader file(path);
  for (const std::string& name : file.names()) {
    if (name != "input_ids" && name != "labels" && name != "attention_mask") {
      throw io_error(path.string() + ": the tensor " + files::in_quotes(name) +
                     " is not understood; there are input_ids, labels and attention_mask");
    }
  }
  std::vector<index_t> shape;
  const std::vector<index_t> ids = whole_numbers(file, path.string(), "input_ids", shape);
  const std::vector<index_t> labels = whole_numbers(file, path.string(), "labels", shape);
  const std::vector<index_t> mask =
      file.contains("attention_mask") ? whole_numbers(file, path.string(), "attention_mask", shape)
                                      : std::vector<index_t>(ids.size(), 1);
  const auto columns = std::size_t(shape[1]);
  for (std::size_t row = 0; row < std::size_t(shape[0]); ++row) {
    const std::string place = fmt::format("{}: row {}", path.string(), row);
    example e;
    for (std::size_t i = row * columns; i < (row + 1) * columns; ++i) {
      if (mask[i] == 0) {
        continue;
      }
      if (ids[i] < 0 || ids[i] >= model.net.vocab_size()) {
        throw io_error(fmt::format("{}: 0 <= token < {} of the model ({})", place,
                                   model.net.vocab_size(), ids[i]));
      }
      if (labels[i] != ids[i] && labels[i] != not_counted) {
        throw io_error(fmt::format("{}: a label is its token or {} ({}, token {})", place,
                                   not_counted, labels[i], ids[i]));
      }
      e.ids.push_back(ids[i]);
      e.labels.push_back(labels[i]);
    }
    if (e.ids.empty()) {
      ++set.dropped;
    } else {
      take(set, std::move(e), o);
    }
  }
}

}  // namespace apps::finetune
