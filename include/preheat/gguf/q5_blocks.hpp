// Q5_0 and Q5_1: 32 entries of 5 bits with one scale d. The lower four bits lie as in Q4_0; bit i of
// `high` is the fifth bit of entry i.
//
//   Q5_0: x = d·(q − 16)      Q5_1: x = d·q + m
#pragma once
#include <array>
#include <bit>
#include <cstdint>

#include "../core/types.hpp"
#include "../safetensors/float16.hpp"

namespace preheat::gguf::detail {

struct q5_0_block {
  static constexpr index_t entries = 32;
  safetensors::float16 scale;
  std::array<std::uint8_t, 4> high;
  std::array<std::uint8_t, 16> q;
};
static_assert(sizeof(q5_0_block) == 22, "a block is read as its bytes lie");

struct q5_1_block {
  static constexpr index_t entries = 32;
  safetensors::float16 scale;
  safetensors::float16 least;
  std::array<std::uint8_t, 4> high;
  std::array<std::uint8_t, 16> q;
};
static_assert(sizeof(q5_1_block) == 24, "a block is read as its bytes lie");

// The 32 whole numbers 0 … 31 of a block.
template <class Block>
inline std::array<int, 32> five_bits(const Block& block) {
  const auto high = std::bit_cast<std::uint32_t>(block.high);
  std::array<int, 32> q;
  for (std::uint32_t i = 0; i < 16; ++i) {
    q[i] = int((block.q[i] & 0xFU) | ((high >> i & 1U) << 4));
    q[i + 16] = int((block.q[i] >> 4U) | ((high >> (i + 16) & 1U) << 4));
  }
  return q;
}

inline void unpack(const q5_0_block& block, float* to) {
  const float d = safetensors::to_float(block.scale);
  const std::array<int, 32> q = five_bits(block);
  for (std::size_t i = 0; i < 32; ++i) {
    to[i] = d * float(q[i] - 16);
  }
}

// d·q is exact in float (11 and 5 bits), so the sum is rounded once, fused or not.
inline void unpack(const q5_1_block& block, float* to) {
  const float d = safetensors::to_float(block.scale);
  const float m = safetensors::to_float(block.least);
  const std::array<int, 32> q = five_bits(block);
  for (std::size_t i = 0; i < 32; ++i) {
    to[i] = d * float(q[i]) + m;
  }
}

}  // namespace preheat::gguf::detail
