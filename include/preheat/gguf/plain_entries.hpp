// F32, F16 and BF16 as blocks of one entry.
#pragma once
#include "../core/types.hpp"
#include "../safetensors/dtype.hpp"

namespace preheat::gguf::detail {

template <class Stored>
struct plain_entry {
  static constexpr index_t entries = 1;
  Stored value;
};

template <class Stored>
inline void unpack(const plain_entry<Stored>& block, float* to) {
  *to = safetensors::convert<float>(block.value);
}

}  // namespace preheat::gguf::detail
