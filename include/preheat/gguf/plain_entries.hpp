// F32, F16 and BF16 as blocks of one entry.
#pragma once
#include <array>
#include <bit>
#include <cstddef>

#include "../core/types.hpp"
#include "../safetensors/dtype.hpp"

namespace preheat::gguf::detail {

template <class Stored>
struct plain_entry {
  static constexpr index_t entries = 1;
  std::array<std::byte, sizeof(Stored)> bytes;
};

template <class Stored>
inline void unpack(const plain_entry<Stored>& block, float* to) {
  *to = safetensors::convert<float>(std::bit_cast<Stored>(block.bytes));
}

}  // namespace preheat::gguf::detail
