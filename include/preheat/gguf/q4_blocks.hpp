// Q4_0 and Q4_1: 32 entries of 4 bits with one scale d. Byte i has entry i in its lower half and
// entry i + 16 in its upper half.
//
//   Q4_0: x = d·(q − 8)      Q4_1: x = d·q + m
#pragma once
#include <array>
#include <cstdint>

#include "../core/types.hpp"
#include "stored_half.hpp"

namespace preheat::gguf::detail {

struct q4_0_block {
  static constexpr index_t entries = 32;
  stored_half scale;
  std::array<std::uint8_t, 16> q;
};
static_assert(sizeof(q4_0_block) == 18 && alignof(q4_0_block) == 1,
              "a block is read where it lies");

struct q4_1_block {
  static constexpr index_t entries = 32;
  stored_half scale;
  stored_half least;
  std::array<std::uint8_t, 16> q;
};
static_assert(sizeof(q4_1_block) == 20 && alignof(q4_1_block) == 1,
              "a block is read where it lies");

template <class X>
constexpr void unpack(const q4_0_block& block, X* to) {
  const float d = block.scale.value();
  for (std::size_t i = 0; i < 16; ++i) {
    to[i] = X(d * float(int(block.q[i] & 0xF) - 8));
  }
  for (std::size_t i = 0; i < 16; ++i) {
    to[i + 16] = X(d * float(int(block.q[i] >> 4) - 8));
  }
}

// d·q is exact in float (11 and 4 bits), so the sum is rounded once, fused or not.
template <class X>
constexpr void unpack(const q4_1_block& block, X* to) {
  const float d = block.scale.value();
  const float m = block.least.value();
  for (std::size_t i = 0; i < 16; ++i) {
    to[i] = X(d * float(block.q[i] & 0xF) + m);
  }
  for (std::size_t i = 0; i < 16; ++i) {
    to[i + 16] = X(d * float(block.q[i] >> 4) + m);
  }
}

}  // namespace preheat::gguf::detail
