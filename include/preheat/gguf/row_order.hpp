// Where a row of a weight lies in a GGUF file.
//
// Rotary positions turn pairs of entries of a head. Hugging Face pairs entry j with entry j + d/2 of
// a head of size d; llama.cpp, for the architecture "llama", pairs neighbours. So converters store row
//   half·d/2 + j   as row   2·j + half      of its head (half = 0, 1; j = 0 … d/2 − 1)
// of attn_q and attn_k, and of the factor B of their adapters. Other architectures keep the order.
#pragma once
#include <string_view>

#include "../core/error.hpp"
#include "../core/types.hpp"

namespace preheat::gguf {

// As Hugging Face orders them.
struct rows_in_order {
  index_t operator()(index_t row) const { return row; }
};

// Neighbours in the file turn together. Errors: invalid_argument if the head's size is not even.
class rows_in_pairs {
 public:
  explicit rows_in_pairs(index_t head_size) : size_(head_size) {
    require(head_size > 0 && head_size % 2 == 0, "a head's size is even and > 0", head_size, 0);
  }

  // The row in the file of Hugging Face's `row`.
  index_t operator()(index_t row) const {
    const index_t in_head = row % size_;
    const index_t half = in_head / (size_ / 2);
    const index_t pair = in_head % (size_ / 2);
    return row - in_head + 2 * pair + half;
  }

 private:
  index_t size_;
};

namespace detail {

// Whether the file has this layer's rows in pairs; the name is Hugging Face's.
inline bool has_rows_in_pairs(std::string_view architecture, std::string_view layer) {
  return architecture == "llama" && (layer.ends_with(".q_proj") || layer.ends_with(".k_proj"));
}

}  // namespace detail

}  // namespace preheat::gguf
