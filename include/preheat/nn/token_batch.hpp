// A batch of token sequences of different lengths, without padding: the tokens of all sequences are
// stored one after another, so that no layer computes anything for a padding token.
//
//   sequence s has lengths[s] tokens; its first one is token number Σ_{t<s} lengths[t]
//
// `pack` makes one from padded rows and a mask, as tokenizers return them.
#pragma once
#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include "../core/concepts.hpp"
#include "../core/random.hpp"

namespace preheat::nn {

template <class Be>
struct token_batch {
  std::vector<index_t> ids;           // of all tokens
  std::vector<index_t> types;         // of all tokens; empty: all 0
  std::vector<index_t> lengths;       // of each sequence, >= 1
  mat<Be> target;                     // of the loss (nn/loss.hpp), one column per sequence
  std::optional<generator> stream{};  // for dropout, new for every batch
  // What the sum of the sequences' losses is divided by; 0: their number. As that of a causal_batch it
  // makes the mean over the parts of a batch the loss of the whole.
  double divisor = 0;

  index_t tokens() const { return index_t(ids.size()); }
  index_t sequences() const { return index_t(lengths.size()); }
};

// The sequences of a batch, of an encoder or a decoder, are its tokens one after another. Errors:
// invalid_argument for no sequence, an empty one, or lengths that do not add up to the tokens.
template <class Batch>
void require_lengths(const Batch& batch) {
  require(batch.sequences() > 0, "a batch has at least one sequence", batch.sequences(), 1);
  index_t sum = 0;
  for (const index_t length : batch.lengths) {
    require(length >= 1, "length of a sequence >= 1", length, 1);
    sum += length;
  }
  require(sum == batch.tokens(), "lengths of the sequences add up to the tokens", sum,
          batch.tokens());
}

// Errors: invalid_argument, for a batch without tokens, an empty sequence, lengths that do not add up
// to the tokens, or a negative divisor.
template <class Be>
void require_consistent(const token_batch<Be>& batch) {
  require_lengths(batch);
  require(batch.divisor >= 0, "divisor of a batch's loss >= 0", batch.divisor, 0.0);
  require(batch.types.empty() || batch.types.size() == batch.ids.size(), "one token type per token",
          batch.types.size(), batch.ids.size());
}

// Takes the tokens from padded rows, `sequences` × length in row-major order: the mask is 1 for a
// token and 0 for padding, which may only follow the tokens. `types` may be empty. The target is
// not changed. Errors: invalid_argument.
template <class Be>
void pack(std::span<const index_t> ids, std::span<const index_t> types,
          std::span<const index_t> mask, index_t sequences, token_batch<Be>& batch) {
  require(sequences >= 1 && ids.size() % std::size_t(sequences) == 0,
          "pack: ids are a multiple of the sequences", ids.size(), sequences);
  require(mask.size() == ids.size(), "pack: one mask per id", mask.size(), ids.size());
  require(types.empty() || types.size() == ids.size(), "pack: one token type per id", types.size(),
          ids.size());
  const std::size_t length = ids.size() / std::size_t(sequences);
  batch.ids.clear();
  batch.types.clear();
  batch.lengths.clear();
  for (std::size_t s = 0; s < std::size_t(sequences); ++s) {
    index_t count = 0;
    for (std::size_t k = s * length; k < (s + 1) * length; ++k) {
      require(mask[k] == 0 || mask[k] == 1, "pack: a mask is 0 or 1", mask[k], 1);
      if (mask[k] == 0) {
        continue;
      }
      require(count == index_t(k - s * length), "pack: padding follows the tokens of a sequence",
              count, k - s * length);
      batch.ids.push_back(ids[k]);
      if (!types.empty()) {
        batch.types.push_back(types[k]);
      }
      ++count;
    }
    batch.lengths.push_back(count);
  }
  require_consistent(batch);
}

}  // namespace preheat::nn
