// A batch of texts for a language model, without padding: the tokens of all sequences one after
// another. Token t of a sequence is predicted from the tokens before it, and counts in the loss if its
// label is not −100. The first token of a sequence is predicted from nothing and never counts.
//
// Labels are not shifted: a label is the token itself, or −100, as in transformers.
#pragma once
#include <span>
#include <vector>

#include "token_batch.hpp"

namespace preheat::nn {

inline constexpr index_t not_counted = -100;

template <class Be>
struct causal_batch {
  std::vector<index_t> ids;      // of all tokens
  std::vector<index_t> labels;   // of all tokens: the id, or not_counted
  std::vector<index_t> lengths;  // of each sequence, >= 1
  // What the sum of the tokens' losses is divided by; 0: their number. A part of a batch has the number of
  // the whole batch over that of the parts, and then the mean over the parts is the whole batch's loss.
  double divisor = 0;

  index_t tokens() const { return index_t(ids.size()); }
  index_t sequences() const { return index_t(lengths.size()); }
};

// Errors: invalid_argument, for a batch without tokens, an empty sequence, lengths that do not add up
// to the tokens, a negative divisor, or another number of labels than of tokens (none are needed unless
// `labelled`).
template <class Be>
void require_consistent(const causal_batch<Be>& batch, bool labelled) {
  require_lengths(batch);
  require(batch.divisor >= 0, "divisor of a batch's loss >= 0", batch.divisor, 0.0);
  require(!labelled || batch.labels.size() == batch.ids.size(), "one label per token",
          batch.labels.size(), batch.ids.size());
}

// Takes the tokens from padded rows, `sequences` × length in row-major order: the mask is 1 for a
// token and 0 for padding, which may only follow the tokens. Errors: invalid_argument.
template <class Be>
void pack(std::span<const index_t> ids, std::span<const index_t> labels,
          std::span<const index_t> mask, index_t sequences, causal_batch<Be>& batch) {
  token_batch<Be> packed;  // whose types are numbers that belong to the tokens, as labels do
  pack<Be>(ids, labels, mask, sequences, packed);
  batch = {std::move(packed.ids), std::move(packed.types), std::move(packed.lengths)};
}

}  // namespace preheat::nn
