// Q4_K and Q5_K: 256 entries in 8 groups of 32; group g has a scale s and an offset m of 6 bits each,
// and the block two float16 factors for them.
//
//   x = (d·s_g)·q − (dmin·m_g),  q of 4 or 5 bits
//
// Byte 32·p + i of q has entry 64·p + i in its lower half and entry 64·p + 32 + i in its upper half;
// bit g of byte i of `high` is the fifth bit of entry i of group g. Both products are exact in float
// (11, 6 and 5 bits), so x is rounded once, fused or not.
#pragma once
#include <array>
#include <cstdint>

#include "../core/types.hpp"
#include "stored_half.hpp"

namespace preheat::gguf::detail {

// Eight scales and eight offsets in 12 bytes: those of groups 0 … 3 in the lower six bits of bytes
// 0 … 3 and 4 … 7; of groups 4 … 7 the lower four bits in the halves of bytes 8 … 11, the upper two
// in the bits that were left.
using packed_scales = std::array<std::uint8_t, 12>;

struct group_scale {
  int scale;
  int offset;
};

constexpr group_scale scale_of_group(const packed_scales& bytes, std::size_t g) {
  if (g < 4) {
    return {bytes[g] & 0x3F, bytes[g + 4] & 0x3F};
  }
  return {(bytes[g + 4] & 0xF) | (bytes[g - 4] >> 6 << 4),
          (bytes[g + 4] >> 4) | (bytes[g] >> 6 << 4)};
}

struct q4_k_block {
  static constexpr index_t entries = 256;
  stored_half scale;
  stored_half offset;
  packed_scales scales;
  std::array<std::uint8_t, 128> q;
};
static_assert(sizeof(q4_k_block) == 144 && alignof(q4_k_block) == 1,
              "a block is read where it lies");

struct q5_k_block {
  static constexpr index_t entries = 256;
  stored_half scale;
  stored_half offset;
  packed_scales scales;
  std::array<std::uint8_t, 32> high;
  std::array<std::uint8_t, 128> q;
};
static_assert(sizeof(q5_k_block) == 176 && alignof(q5_k_block) == 1,
              "a block is read where it lies");

// `bits(q, i, g)` is the whole number of entry i of group g whose lower four bits are q.
template <class Block, class X, class Bits>
constexpr void unpack_groups(const Block& block, X* to, Bits&& bits) {
  const float d = block.scale.value();
  const float dmin = block.offset.value();
  for (std::size_t g = 0; g < 8; ++g) {
    const group_scale of = scale_of_group(block.scales, g);
    const float s = d * float(of.scale);
    const float m = dmin * float(of.offset);
    const std::uint8_t* const q = block.q.data() + 32 * (g / 2);
    const unsigned shift = g % 2 == 0 ? 0 : 4;
    for (std::size_t i = 0; i < 32; ++i) {
      to[32 * g + i] = X(s * float(bits(q[i] >> shift & 0xF, i, g)) - m);
    }
  }
}

template <class X>
constexpr void unpack(const q4_k_block& block, X* to) {
  unpack_groups(block, to, [](int q, std::size_t, std::size_t) { return q; });
}

template <class X>
constexpr void unpack(const q5_k_block& block, X* to) {
  unpack_groups(block, to, [&](int q, std::size_t i, std::size_t g) {
    return q | (block.high[i] >> g & 1) << 4;
  });
}

}  // namespace preheat::gguf::detail
