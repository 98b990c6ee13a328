// A tile of queries of all heads of consecutive sequences that have one length and one past, as grids of blocks
// (core/block_grid.hpp): what nn::causal_attention computes in one call.
//
// Of Q, C and their gradients a block is a head's rows and a sequence's queries in the tile; of K, V and their
// gradients the rows of a key's head and the keys that some query sees; of P and dS keys × queries, in columns of
// their own, head by head and sequence by sequence.
#pragma once
#include <span>

#include "../core/block_grid.hpp"
#include "attention_span.hpp"

namespace preheat::nn {

// How many of the first of these sequences are alike and lie side by side.
inline std::size_t sequences_alike(std::span<const attention_span> all) {
  const attention_span& first = all.front();
  std::size_t count = 1;
  const auto next = [&] {
    const index_t n = index_t(count);
    return attention_span{first.first_query + n * first.queries, first.queries,
                          first.first_key + n * first.keys, first.keys};
  };
  while (count < all.size() && all[count] == next()) {
    ++count;
  }
  return count;
}

struct grid_tile {
  index_t heads;
  index_t shared;  // heads that share keys
  index_t size;    // rows of a head
  index_t sequences;
  index_t query, queries,
      query_step;  // first column and columns of the first sequence's block; of its queries
  index_t key, keys, key_step;
  index_t shift, window;  // of the causal softmax
  index_t column;         // of P

  index_t pair_columns() const { return heads * sequences * queries; }
  template <class T>
  view<T> part_of(view<T> P) const {
    return P.block(0, column, keys, pair_columns());
  }

  template <class T>
  block_grid<T> query_blocks(view<T> x) const {
    return grid_of(x.col_range(query, columns(queries, query_step)), size, queries,
                   {heads, sequences, size, 0, query_step});
  }
  template <class T>
  block_grid<T> pairs(view<T> x) const {
    return grid_of(x, keys, queries, {heads, sequences, 0, queries, heads * queries});
  }
  // A block of keys for every head.
  template <class T>
  block_grid<T> key_blocks(view<T> x) const {
    return grid_of(x.col_range(key, columns(keys, key_step)), size, keys,
                   {heads, sequences, size, 0, key_step, shared});
  }

  // The same of one head of each group, the one of this number; and a block of keys for every group.
  template <class T>
  block_grid<T> query_blocks(view<T> x, index_t number) const {
    const index_t above = number * size;
    return grid_of(x.block(above, query, x.rows() - above, columns(queries, query_step)), size,
                   queries, {heads / shared, sequences, shared * size, 0, query_step});
  }
  template <class T>
  block_grid<T> pairs(view<T> x, index_t number) const {
    const index_t before = number * queries;
    return grid_of(x.col_range(before, x.cols() - before), keys, queries,
                   {heads / shared, sequences, 0, shared * queries, heads * queries});
  }
  template <class T>
  block_grid<T> key_blocks_once(view<T> x) const {
    return grid_of(x.col_range(key, columns(keys, key_step)), size, keys,
                   {heads / shared, sequences, size, 0, key_step});
  }

 private:
  index_t columns(index_t of_block, index_t step) const {
    return (sequences - 1) * step + of_block;
  }
};

}  // namespace preheat::nn
