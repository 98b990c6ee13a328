// A tensor's blocks as floats.
#pragma once
#include <cstddef>
#include <type_traits>

#include "../core/types.hpp"
#include "k_blocks.hpp"
#include "plain_entries.hpp"
#include "q4_blocks.hpp"
#include "q5_blocks.hpp"
#include "q6_k_block.hpp"
#include "q8_0_block.hpp"
#include "tensor_type.hpp"

namespace preheat::gguf {

namespace detail {

// Calls visit(std::type_identity<Block>{}) with the layout of a block of the type, and returns true; or
// returns false for the types that are not unpacked.
template <class Visitor>
bool visit_block(tensor_type type, Visitor&& visit) {
  switch (type) {
    case tensor_type::F32:
      visit(std::type_identity<plain_entry<float>>{});
      return true;
    case tensor_type::F16:
      visit(std::type_identity<plain_entry<safetensors::float16>>{});
      return true;
    case tensor_type::BF16:
      visit(std::type_identity<plain_entry<safetensors::bfloat16>>{});
      return true;
    case tensor_type::Q8_0:
      visit(std::type_identity<q8_0_block>{});
      return true;
    case tensor_type::Q4_0:
      visit(std::type_identity<q4_0_block>{});
      return true;
    case tensor_type::Q4_1:
      visit(std::type_identity<q4_1_block>{});
      return true;
    case tensor_type::Q5_0:
      visit(std::type_identity<q5_0_block>{});
      return true;
    case tensor_type::Q5_1:
      visit(std::type_identity<q5_1_block>{});
      return true;
    case tensor_type::Q4_K:
      visit(std::type_identity<q4_k_block>{});
      return true;
    case tensor_type::Q5_K:
      visit(std::type_identity<q5_k_block>{});
      return true;
    case tensor_type::Q6_K:
      visit(std::type_identity<q6_k_block>{});
      return true;
    default:
      return false;
  }
}

}  // namespace detail

// Whether unpack_blocks knows the type.
inline bool is_unpacked(tensor_type type) {
  return detail::visit_block(type, [](auto) {});
}

// The entries of `blocks` blocks, one after another, as floats: the numbers that ggml and the gguf
// package give, bit for bit. `from` may have any alignment. Requires is_unpacked(type) and
// blocks · block_bytes(type) bytes. Cost: O(entries), no memory.
inline void unpack_blocks(tensor_type type, const std::byte* from, index_t blocks,
                          float* __restrict to) {
  detail::visit_block(type, [&]<class Block>(std::type_identity<Block>) {
    const Block* const first = reinterpret_cast<const Block*>(from);  // made of bytes
    float* __restrict const out = to;
    for (index_t i = 0; i < blocks; ++i) {
      detail::unpack(first[i], out + i * Block::entries);
    }
  });
}

}  // namespace preheat::gguf
