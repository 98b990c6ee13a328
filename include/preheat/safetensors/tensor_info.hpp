// A tensor in a safetensors file, and what its reader and its writer both need to know of the
// format. The format itself is described in header.hpp.
#pragma once
#include <bit>
#include <cstddef>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../core/types.hpp"
#include "dtype.hpp"

namespace preheat::safetensors {

static_assert(std::endian::native == std::endian::little,
              "safetensors files are little-endian and are used in place; preheat does not swap "
              "bytes for a big-endian machine");

// One tensor: its element type, its shape (empty for a scalar) and its bytes, which lie in the
// file's or the caller's memory.
struct tensor_info {
  dtype type = dtype::F32;
  std::vector<index_t> shape;
  std::span<const std::byte> bytes;

  // The number of entries, the product of the shape.
  index_t count() const { return static_cast<index_t>(bytes.size()) / size_of(type); }
};

// Tensors by name, found by std::string_view without a copy.
using tensor_map = std::map<std::string, tensor_info, std::less<>>;

// The longest header that the format allows, in bytes.
inline constexpr std::size_t longest_header = 100'000'000;

// A shape for an error message: "[2, 3]", and no more than its first extents if there are many.
inline std::string shape_text(const std::vector<index_t>& shape) {
  constexpr std::size_t most = 16;
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size() && i < most; ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + (shape.size() > most ? ", ...]" : "]");
}

namespace detail {

// The key under which a header keeps its metadata; no tensor can have this name.
inline constexpr std::string_view metadata_key = "__metadata__";

// left * right, or nothing if it overflows. Requires both >= 0.
inline std::optional<index_t> checked_product(index_t left, index_t right) {
  if (right != 0 && left > std::numeric_limits<index_t>::max() / right) {
    return std::nullopt;
  }
  return left * right;
}

// The number of entries of a shape, or nothing if it overflows. Requires extents >= 0.
inline std::optional<index_t> entry_count(const std::vector<index_t>& shape) {
  std::optional<index_t> count = 1;
  for (const index_t extent : shape) {
    count = checked_product(*count, extent);
    if (!count) {
      break;
    }
  }
  return count;
}

}  // namespace detail

}  // namespace preheat::safetensors
