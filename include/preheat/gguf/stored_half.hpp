// A float16 in a block, at whatever address.
#pragma once
#include <array>
#include <bit>
#include <cstdint>

#include "../safetensors/float16.hpp"

namespace preheat::gguf::detail {

// Every block is made of bytes, so that it is used where it lies in the file: copied first, its
// entries are loaded three times more slowly (measured: Q8_0).
struct stored_half {
  std::array<std::uint8_t, 2> bytes;

  constexpr float value() const {
    return safetensors::to_float(std::bit_cast<safetensors::float16>(bytes));
  }
};

inline stored_half stored(safetensors::float16 x) {
  return {std::bit_cast<std::array<std::uint8_t, 2>>(x)};
}

}  // namespace preheat::gguf::detail
