// Q8_0: 32 entries as bytes q with one scale d; x = d·q.
//
// Packing: d = max|x| / 127, q = x / d rounded to nearest, halves away from zero; d is then rounded
// to float16 (as ggml does). |x − d·q| <= d/2 + 127·d·2^-11, so about max|x| / 200.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "../core/types.hpp"
#include "../safetensors/float16.hpp"
#include "stored_half.hpp"

namespace preheat::gguf::detail {

struct q8_0_block {
  static constexpr index_t entries = 32;
  stored_half scale;
  std::array<std::int8_t, 32> q;
};
static_assert(sizeof(q8_0_block) == 34 && alignof(q8_0_block) == 1,
              "a block is read where it lies");

template <class X>
constexpr void unpack(const q8_0_block& block, X* to) {
  const float d = block.scale.value();
  for (std::size_t i = 0; i < 32; ++i) {
    to[i] = X(d * float(block.q[i]));
  }
}

// Requires 32 finite entries. The scale is infinite if max|x| / 127 is beyond float16's 65504.
inline q8_0_block pack_q8_0(const float* x) {
  float largest = 0;
  for (std::size_t i = 0; i < 32; ++i) {
    largest = std::max(largest, std::abs(x[i]));
  }
  const float d = largest / 127.0F;
  const float inverse = d == 0 ? 0.0F : 1.0F / d;
  q8_0_block block;
  block.scale = stored(safetensors::round_to<safetensors::float16>(d));
  for (std::size_t i = 0; i < 32; ++i) {
    block.q[i] = std::int8_t(std::clamp(std::round(x[i] * inverse), -127.0F, 127.0F));
  }
  return block;
}

}  // namespace preheat::gguf::detail
