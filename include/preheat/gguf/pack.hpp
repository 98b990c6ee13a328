// Numbers as the bytes of a tensor: F32, F16, BF16 and Q8_0.
#pragma once
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../core/error.hpp"
#include "../files/strict_json.hpp"
#include "q8_0_block.hpp"
#include "tensor_info.hpp"

namespace preheat::gguf {

namespace detail {

template <class Stored, class T>
std::vector<std::byte> rounded(std::string_view name, std::span<const T> values, tensor_type type) {
  std::vector<std::byte> bytes(values.size() * sizeof(Stored));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Stored entry = safetensors::convert<Stored>(values[i]);
    const bool overflow =
        std::isfinite(values[i]) && !std::isfinite(safetensors::convert<T>(entry));
    require(!overflow, "tensor " + files::in_quotes(name) + ": a number is too large for " +
                           std::string(name_of(type)));
    std::memcpy(bytes.data() + i * sizeof(Stored), &entry, sizeof(Stored));
  }
  return bytes;
}

template <class T>
std::vector<std::byte> packed_q8_0(std::string_view name, std::span<const T> values) {
  const std::size_t blocks = values.size() / std::size_t(q8_0_block::entries);
  std::vector<std::byte> bytes(blocks * sizeof(q8_0_block));
  for (std::size_t i = 0; i < blocks; ++i) {
    std::array<float, 32> x;
    for (std::size_t k = 0; k < x.size(); ++k) {
      x[k] = float(values[32 * i + k]);
      require(std::isfinite(x[k]),
              "tensor " + files::in_quotes(name) + ": Q8_0 holds finite numbers only");
    }
    const q8_0_block block = pack_q8_0(x.data());
    require(std::isfinite(block.scale.value()),
            "tensor " + files::in_quotes(name) + ": a number is too large for Q8_0");
    std::memcpy(bytes.data() + i * sizeof block, &block, sizeof block);
  }
  return bytes;
}

}  // namespace detail

// The bytes of row-major values with `cols` entries a row, rounded once to nearest (Q8_0:
// q8_0_block.hpp). Errors: invalid_argument, naming the tensor, for another type, for rows that are
// not whole blocks, and for a number that the type cannot hold; F32, F16 and BF16 hold NaN and
// infinity, Q8_0 does not. Cost: O(entries).
template <std::floating_point T>
std::vector<std::byte> packed(std::string_view name, tensor_type type, std::span<const T> values,
                              index_t cols) {
  const std::string who = "tensor " + files::in_quotes(name);
  switch (type) {
    case tensor_type::F32:
      return detail::rounded<float>(name, values, type);
    case tensor_type::F16:
      return detail::rounded<safetensors::float16>(name, values, type);
    case tensor_type::BF16:
      return detail::rounded<safetensors::bfloat16>(name, values, type);
    case tensor_type::Q8_0:
      require(cols % block_entries(type) == 0, who + ": columns are a multiple of Q8_0's 32", cols,
              block_entries(type));
      return detail::packed_q8_0(name, values);
    default:
      throw invalid_argument(who + ": F32, F16, BF16 and Q8_0 are written, not " +
                             std::string(name_of(type)));
  }
}

}  // namespace preheat::gguf
