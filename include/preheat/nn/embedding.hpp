// The embeddings of BERT: the sum of those of the word, the position in the sequence and the token
// type.
//
//   x_t = words[id_t] + positions[t − first token of its sequence] + types[type_t]
//
// Each table has one column per entry (features × entries). They are frozen, so there is no
// backward. Errors: an id, a type or a length beyond its table. Cost: O(features · tokens).
#pragma once
#include "../linalg/elementwise.hpp"
#include "gather.hpp"
#include "token_batch.hpp"

namespace preheat::nn {

template <class Be>
struct embedding_tables {
  mat<Be> words;
  mat<Be> positions;
  mat<Be> types;
};

// X becomes features × tokens.
template <backend Be>
void embed_tokens(Be& be, const embedding_tables<Be>& tables, const token_batch<Be>& batch,
                  mat<Be>& X) {
  using T = scalar_of<Be>;
  const index_t tokens = batch.tokens();
  be.resize(X, tables.words.rows(), tokens);
  const view<T> x(X);
  for (const index_t id : batch.ids) {
    require(0 <= id && id < tables.words.cols(), "0 <= id of a token < vocab_size", id,
            tables.words.cols());
  }
  gather<Be>(be, tables.words, batch.ids, x);
  index_t first = 0;
  for (const index_t length : batch.lengths) {
    require(length <= tables.positions.cols(), "tokens of a sequence <= max_position_embeddings",
            length, tables.positions.cols());
    be.apply(linalg::axpby<T>{1, 1}, x.col_range(first, length),
             view(tables.positions).col_range(0, length));
    first += length;
  }
  for (index_t t = 0; t < tokens;) {  // runs of one type
    const auto type_of = [&](index_t k) { return batch.types.empty() ? 0 : batch.types[k]; };
    const index_t type = type_of(t);
    require(0 <= type && type < tables.types.cols(), "0 <= type of a token < type_vocab_size", type,
            tables.types.cols());
    index_t end = t + 1;
    while (end < tokens && type_of(end) == type) {
      ++end;
    }
    be.add_to_cols(view(tables.types).col_range(type, 1), x.col_range(t, end - t));
    t = end;
  }
}

}  // namespace preheat::nn
