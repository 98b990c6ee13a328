// The keys and values of a text's tokens so far, in every block of a decoder, so that the next token
// costs the work of one token. It belongs to one text, one network and its adapters as they are.
//
// Memory: 2·blocks·key_value_heads·head_size numbers a token of the capacity.
#pragma once
#include <utility>
#include <vector>

#include "../core/concepts.hpp"
#include "decoder_config.hpp"

namespace preheat::nn {

template <backend Be>
class key_value_cache {
 public:
  key_value_cache(Be& be, const decoder_config& c, index_t capacity) : capacity_(capacity) {
    require(capacity >= 1, "capacity of a cache >= 1", capacity, 1);
    for (index_t i = 0; i < c.blocks; ++i) {
      for (std::vector<activations<Be>>* all : {&keys_, &values_}) {
        be.resize(all->emplace_back(), c.key_rows(), capacity);
        be.fill(0, all->back());
      }
    }
  }

  index_t length() const { return length_; }
  index_t capacity() const { return capacity_; }
  // Forgets all tokens from this one on.
  void cut(index_t length) {
    require(0 <= length && length <= length_, "0 <= tokens kept <= tokens of the cache", length,
            length_);
    length_ = length;
  }

  // --- for the network: stores K and V of new tokens of one block, and returns those of all tokens.
  std::pair<const_activation_view<Be>, const_activation_view<Be>> append(
      Be& be, index_t block, const_activation_view<Be> K, const_activation_view<Be> V) {
    const index_t n = K.cols();
    be.copy(transpose::no, K, view(keys_[block]).col_range(length_, n));
    be.copy(transpose::no, V, view(values_[block]).col_range(length_, n));
    return {view(keys_[block]).col_range(0, length_ + n),
            view(values_[block]).col_range(0, length_ + n)};
  }
  // So many tokens have been stored in every block.
  void advance(index_t tokens) { length_ += tokens; }

 private:
  index_t capacity_;
  index_t length_ = 0;
  std::vector<activations<Be>> keys_, values_;
};

}  // namespace preheat::nn
