// Q5_0 and Q5_1: 32 entries of 5 bits with one scale d. The lower four bits lie as in Q4_0; bit i of
// `high` is the fifth bit of entry i.
//
//   Q5_0: x = d·(q − 16)      Q5_1: x = d·q + m
#pragma once
#include <array>
#include <bit>
#include <cstdint>

#include "../core/types.hpp"
#include "stored_half.hpp"

namespace preheat::gguf::detail {

struct q5_0_block {
  static constexpr index_t entries = 32;
  stored_half scale;
  std::array<std::uint8_t, 4> high;
  std::array<std::uint8_t, 16> q;
};
static_assert(sizeof(q5_0_block) == 22 && alignof(q5_0_block) == 1,
              "a block is read where it lies");

struct q5_1_block {
  static constexpr index_t entries = 32;
  stored_half scale;
  stored_half least;
  std::array<std::uint8_t, 4> high;
  std::array<std::uint8_t, 16> q;
};
static_assert(sizeof(q5_1_block) == 24 && alignof(q5_1_block) == 1,
              "a block is read where it lies");

template <class X>
constexpr void unpack(const q5_0_block& block, X* to) {
  const float d = block.scale.value();
  const auto high = std::bit_cast<std::uint32_t>(block.high);
  for (std::uint32_t i = 0; i < 16; ++i) {
    to[i] = X(d * float(int((block.q[i] & 0xFU) | (high >> i & 1U) << 4) - 16));
    to[i + 16] = X(d * float(int(block.q[i] >> 4U | (high >> (i + 16) & 1U) << 4) - 16));
  }
}

// d·q is exact in float (11 and 5 bits), so the sum is rounded once, fused or not.
template <class X>
constexpr void unpack(const q5_1_block& block, X* to) {
  const float d = block.scale.value();
  const float m = block.least.value();
  const auto high = std::bit_cast<std::uint32_t>(block.high);
  for (std::uint32_t i = 0; i < 16; ++i) {
    to[i] = X(d * float(int((block.q[i] & 0xFU) | (high >> i & 1U) << 4)) + m);
    to[i + 16] = X(d * float(int(block.q[i] >> 4U | (high >> (i + 16) & 1U) << 4)) + m);
  }
}

}  // namespace preheat::gguf::detail
