// Q6_K: 256 entries of 6 bits in 16 groups of 16, each with a scale s of 8 bits.
//
//   x = (d·s_g)·(q − 32)
//
// In each half of 128 entries, byte i of q (i < 64) has the lower four bits of entry i in its lower
// half and those of entry i + 64 in its upper half; byte i of `high` (i < 32) has the upper two bits
// of entries i, i + 32, i + 64 and i + 96. The product is exact in float (11, 7 and 6 bits).
#pragma once
#include <array>
#include <cstdint>

#include "../core/types.hpp"
#include "stored_half.hpp"

namespace preheat::gguf::detail {

struct q6_k_block {
  static constexpr index_t entries = 256;
  std::array<std::uint8_t, 128> q;
  std::array<std::uint8_t, 64> high;
  std::array<std::int8_t, 16> scales;
  stored_half scale;
};
static_assert(sizeof(q6_k_block) == 210 && alignof(q6_k_block) == 1,
              "a block is read where it lies");

template <class X>
constexpr void unpack(const q6_k_block& block, X* to) {
  const float d = block.scale.value();
  for (std::size_t half = 0; half < 2; ++half) {
    for (std::size_t part = 0; part < 4; ++part) {  // entries 32·part … of the half
      const std::uint8_t* const q = block.q.data() + 64 * half + 32 * (part % 2);
      const std::uint8_t* const high = block.high.data() + 32 * half;
      const unsigned low_shift = part < 2 ? 0 : 4;
      const unsigned high_shift = unsigned(2 * part);
      for (std::size_t group = 0; group < 2; ++group) {
        const float s = d * float(block.scales[8 * half + 2 * part + group]);
        X* const out = to + 128 * half + 32 * part + 16 * group;
        for (std::size_t i = 0; i < 16; ++i) {
          const std::size_t at = 16 * group + i;
          const int value = (q[at] >> low_shift & 0xF) | (high[at] >> high_shift & 3) << 4;
          out[i] = X(s * float(value - 32));
        }
      }
    }
  }
}

}  // namespace preheat::gguf::detail
