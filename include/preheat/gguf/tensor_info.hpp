// A tensor in a GGUF file.
#pragma once
#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "../core/types.hpp"
#include "../safetensors/tensor_info.hpp"
#include "tensor_type.hpp"

namespace preheat::gguf {

// One tensor: its type, its shape and its bytes, which lie in the file's or the caller's memory. The
// shape is row-major, [rows, cols] for a matrix, as safetensors and PyTorch have it; the file lists
// the extents the other way round. The entries of a row are adjacent.
struct tensor_info {
  tensor_type type = tensor_type::F32;
  std::vector<index_t> shape;
  std::span<const std::byte> bytes;

  // The number of entries, the product of the shape.
  index_t count() const {
    return static_cast<index_t>(bytes.size()) / block_bytes(type) * block_entries(type);
  }
  // The entries of a row: the last extent; 1 without extents.
  index_t cols() const { return shape.empty() ? 1 : shape.back(); }
  // Rows, whatever the number of dimensions.
  index_t rows() const { return cols() == 0 ? 0 : count() / cols(); }
};

// Tensors by name, found by std::string_view without a copy.
using tensor_map = std::map<std::string, tensor_info, std::less<>>;

// What llama.cpp reads: up to four extents, names of up to 63 bytes. The format allows names of 64.
inline constexpr std::size_t most_dimensions = 4;
inline constexpr std::size_t longest_tensor_name = 64;
inline constexpr std::size_t longest_key = 65'535;

using safetensors::shape_text;

namespace detail {

// The bytes of rows of `type`, or nothing if their number overflows. Requires extents >= 0, of which the
// last is a multiple of block_entries(type).
inline std::optional<index_t> byte_count(tensor_type type, const std::vector<index_t>& shape) {
  const std::optional<index_t> entries = safetensors::detail::entry_count(shape);
  if (!entries) {
    return std::nullopt;
  }
  return safetensors::detail::checked_product(*entries / block_entries(type), block_bytes(type));
}

}  // namespace detail

}  // namespace preheat::gguf
