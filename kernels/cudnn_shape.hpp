// Which plan computes a batch: sequences of one length have a plan of their own, others that of the next larger numbers.
#pragma once
#include <algorithm>
#include <bit>
#include <compare>
#include <numeric>
#include <preheat/cuda/fused_attention.hpp>
#include <string>
#include <vector>

namespace preheat::by_cudnn {

// What a plan is made for. A packed one computes any sequences of at most these numbers.
struct plan_shape {
  index_t heads, key_value_heads, head_size, window;
  index_t sequences, longest;
  index_t tokens;  // of all sequences, where backward's sums are as long as these; or 0
  bool packed, repeatable;
  auto operator<=>(const plan_shape&) const = default;

  index_t rows() const { return heads * head_size; }
  bool shares_keys() const { return heads > key_value_heads; }
  std::string text() const {
    return "attention of " + std::to_string(heads) + " heads and " +
           std::to_string(key_value_heads) + " of keys, each of " + std::to_string(head_size) +
           " rows, " + std::to_string(sequences) + " sequences of " + (packed ? "up to " : "") +
           std::to_string(longest) + " tokens";
  }
};

// From one token to the next: of Q, K, V and C, and backward of dC, dQ, dK and dV too.
using token_steps = std::vector<index_t>;

// The number rounded up, so that there are eight results between a power of two and the next.
inline index_t rounded_up(index_t n) {
  const auto step = index_t(std::max<std::size_t>(std::bit_floor(std::size_t(n)) / 8, 1));
  return (n + step - 1) / step * step;
}

inline plan_shape shape_of_plan(const cuda_fused_attention::shape_type& s,
                                std::span<const index_t> lengths, const token_steps& steps,
                                bool repeatable) {
  constexpr index_t tile = 128;  // of cuDNN's kernels
  const auto count = index_t(lengths.size());
  const index_t longest = *std::max_element(lengths.begin(), lengths.end());
  const bool alike = longest == *std::min_element(lengths.begin(), lengths.end());
  plan_shape p{.heads = s.heads,
               .key_value_heads = s.key_value_heads,
               .head_size = s.head_size,
               .window = s.window,
               .sequences = count,
               .longest = longest,
               .tokens = 0,
               .packed = !alike || longest % tile != 0,
               .repeatable = repeatable};
  if (!p.packed) {
    return p;
  }
  p.sequences = rounded_up(count);
  p.longest = (rounded_up(longest) + tile - 1) / tile * tile;
  if (steps.size() > 4 && !repeatable) {
    // cuDNN sums dQ in float, and has dK and dV of every head where heads share keys: for `longest` tokens of every
    // sequence, or for all tokens with as many rows as the steps of the results. What takes less memory.
    const index_t tokens = rounded_up(std::accumulate(lengths.begin(), lengths.end(), index_t(0)));
    const index_t padded = (p.shares_keys() ? 8 : 4) * p.rows() * p.sequences * p.longest;
    const index_t shared = p.heads / p.key_value_heads;
    const index_t of_keys = p.shares_keys() ? shared * (steps[6] + steps[7]) : 0;
    const index_t of_tokens = 4 * (steps[5] + of_keys) * tokens;
    p.tokens = of_tokens < padded ? tokens : 0;
  }
  return p;
}

}  // namespace preheat::by_cudnn
