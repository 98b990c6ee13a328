// What a safetensors file will look like: the order of its tensors, its header, and what can be said
// against them before anything is written. The layout is that of the format's reference
// implementation: tensors by decreasing alignment, then by name; the header filled up with spaces so
// that the data begin at a multiple of 8 bytes. Every tensor is therefore aligned for its dtype.
#pragma once
#include <cstddef>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "../files/strict_json.hpp"
#include "dtype.hpp"
#include "tensor_info.hpp"

namespace preheat::safetensors {

// Name, dtype and shape of a tensor to be written; its offset is computed.
struct planned_tensor {
  std::string name;
  dtype type = dtype::F32;
  std::vector<index_t> shape;
};

// A tensor to write: its name, and the dtype, shape and row-major bytes, which the caller keeps
// alive until the file is written.
struct named_tensor {
  std::string name;
  tensor_info tensor;
};

namespace detail {

[[noreturn]] inline void fail_tensor(std::string_view name, const std::string& problem) {
  throw invalid_argument("tensor " + files::in_quotes(name) + ": " + problem);
}

// The number of entries of a shape that a caller gave.
inline std::size_t checked_entry_count(std::string_view name, const std::vector<index_t>& shape) {
  for (const index_t extent : shape) {
    if (extent < 0) {
      fail_tensor(name, "every extent >= 0, its shape is " + shape_text(shape));
    }
  }
  const std::optional<index_t> entries = entry_count(shape);
  if (!entries) {
    fail_tensor(name, "the number of entries of " + shape_text(shape) + " overflows");
  }
  return static_cast<std::size_t>(*entries);
}

// The bytes of a tensor that a caller described. Errors: an extent < 0, an overflow.
inline std::size_t checked_byte_count(std::string_view name, dtype type,
                                      const std::vector<index_t>& shape) {
  const std::size_t entries = checked_entry_count(name, shape);
  const std::size_t size = static_cast<std::size_t>(size_of(type));
  if (entries > std::numeric_limits<std::size_t>::max() / size) {
    fail_tensor(name, "the number of bytes of " + shape_text(shape) + " overflows");
  }
  return entries * size;
}

// What can be said against one tensor by itself.
inline void check_tensor(std::string_view name, const tensor_info& tensor) {
  if (name == metadata_key) {
    fail_tensor(name, "the format keeps this name for its metadata");
  }
  const std::size_t entries = checked_entry_count(name, tensor.shape);
  const std::size_t size = static_cast<std::size_t>(size_of(tensor.type));
  const std::size_t bytes = tensor.bytes.size();
  if (bytes % size != 0 || bytes / size != entries) {  // entries * size could overflow
    fail_tensor(name, std::to_string(bytes) + " bytes for " + std::to_string(entries) +
                          " entries of " + std::to_string(size) + " bytes");
  }
}

// The reference implementation's order: dtypes from the last to the first, then names.
inline bool lies_before(const planned_tensor& left, const planned_tensor& right) {
  if (left.type != right.type) {
    return left.type > right.type;
  }
  return left.name < right.name;
}

// A string as JSON. Errors: invalid_argument if it is not UTF-8.
inline std::string json_text(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw invalid_argument("names and metadata are UTF-8 text, unlike " + files::in_quotes(text));
  }
}

// The header of a file that holds the tensors in the given order, with the spaces after it.
inline std::string header_text(const std::vector<planned_tensor>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  constexpr std::size_t alignment = 8;
  std::string text = "{";
  if (!metadata.empty()) {
    text += json_text(std::string(metadata_key)) + ":{";
    for (const auto& [key, value] : metadata) {
      text += json_text(key) + ":" + json_text(value) + ",";
    }
    text.back() = '}';
    text += ",";
  }
  std::size_t begin = 0;
  for (const planned_tensor& tensor : tensors) {
    const std::size_t end = begin + checked_byte_count(tensor.name, tensor.type, tensor.shape);
    text += json_text(tensor.name) + ":{\"dtype\":\"" + std::string(name_of(tensor.type)) + "\"";
    text += ",\"shape\":" + nlohmann::json(tensor.shape).dump();
    text += ",\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]},";
    begin = end;
  }
  if (text.back() == ',') {
    text.pop_back();
  }
  text += "}";
  const std::size_t spaces = (alignment - text.size() % alignment) % alignment;
  text.append(spaces, ' ');
  require(text.size() <= longest_header, "header length <= longest header of the format",
          text.size(), longest_header);
  return text;
}

}  // namespace detail

}  // namespace preheat::safetensors
