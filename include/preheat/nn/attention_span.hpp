// Where a sequence is among the columns of Q, and of K and V; its last query is its last key.
#pragma once
#include "../core/types.hpp"

namespace preheat::nn {

struct attention_span {
  index_t first_query = 0;
  index_t queries = 0;
  index_t first_key = 0;
  index_t keys = 0;

  index_t past() const { return keys - queries; }  // keys before the first query
  friend bool operator==(const attention_span&, const attention_span&) = default;
};

}  // namespace preheat::nn
