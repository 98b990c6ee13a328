// A matrix as a file has it, in blocks of a compact type (Q8_0, Q4_1, Q6_K …), to be handed to a device:
//
//   blocks[i·(cols / Block::entries) + k]   entries k·Block::entries … of row i
//
// `unpack(block, to)`, found beside the type, writes a block's entries to `to` and is constexpr, so that
// nvcc compiles it for a device (gguf/q8_0_block.hpp). The span is the caller's.
#pragma once
#include <concepts>
#include <span>
#include <string>
#include <type_traits>

#include "types.hpp"

namespace preheat {

template <class B>
concept unpacked_block = std::is_trivially_copyable_v<B> && alignof(B) == 1 &&
                         requires(const B& block, float* to) {
  { B::entries } -> std::convertible_to<index_t>;
  unpack(block, to);
};

template <unpacked_block Block>
struct block_matrix {
  index_t rows = 0;
  index_t cols = 0;
  std::span<const Block> blocks;
  std::string type_name;
};

}  // namespace preheat
