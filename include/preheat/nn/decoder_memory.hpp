// How many numbers a decoder holds: its weights, and the buffers of its training passes, which grow with
// the batch and stay as large as the largest one needed.
//
//   const decoder_memory m = nn::memory_of(config, {.lengths = lengths, .predicted = 900});
//   const double bytes = 4 * (nn::weight_numbers(config).all() + m.all());
//
// Of a block and its N tokens: outputs of the linear layers, attention's result, Q and K if they are
// normalized, the probabilities (longest text × heads·N; with fused attention a number a head and token instead);
// what recompute says; two of the adapter's rank for each linear layer. Where blocks are computed again, only
// their inputs are kept of all. The head holds the logits of a chunk twice. Vectors are left out. What a backend
// needs to unpack a stored weight is not here, nor what the plans of fused attention share (their workspace()).
#pragma once
#include <algorithm>
#include <span>

#include "decoder_block.hpp"

namespace preheat::nn {

// Numbers of the frozen weights.
struct decoder_weight_numbers {
  double linear = 0;     // of the linear layers, an own head included
  double embedding = 0;  // and learned positions
  double all() const { return linear + embedding; }
};
inline decoder_weight_numbers weight_numbers(const decoder_config& c) {
  double block = 0;
  for (const decoder_layer_shape& l : linear_layers_of_block(c)) {
    block += double(l.rows) * double(l.cols);
  }
  const double words = double(c.vocab_size) * double(c.hidden_size);
  const bool learned = c.positions == position_kind::learned;
  return {double(c.blocks) * block + (c.tied_head ? 0 : words),
          words + (learned ? double(c.max_positions) * double(c.hidden_size) : 0)};
}

// A batch, and how it is trained on.
struct decoder_pass_size {
  std::span<const index_t> lengths;  // of the texts
  index_t predicted = 0;             // tokens that count
  recompute again = recompute::norms_and_gates;
  index_t rank = 0;  // of the adapters on all linear layers of the blocks
  bool dropout = false;
  index_t chunk = 128;  // columns of logits at a time
  index_t workers = 1;  // threads
  bool fused = false;   // attention is nn::fused_attention
};

struct decoder_memory {
  double kept = 0;    // of all blocks, for the backward pass
  double shared = 0;  // by all blocks
  double head = 0;
  double all() const { return kept + shared + head; }
};
inline decoder_memory memory_of(const decoder_config& c, const decoder_pass_size& pass) {
  double tokens = 0;
  double longest = 0;
  for (const index_t length : pass.lengths) {
    tokens += double(length);
    longest = std::max(longest, double(length));
  }
  constexpr double tile = 128;  // causal_attention::tile
  const double keys = c.window > 0 ? std::min(longest, double(c.window) + tile - 1) : longest;
  const double hidden = double(c.hidden_size);
  const double queries = double(c.query_rows());
  const double key_rows = double(c.key_rows());
  const double wide = double(c.intermediate_size);
  double outputs = 0;
  double inputs = 0;
  double layers = 0;
  for (const decoder_layer_shape& l : linear_layers_of_block(c)) {
    outputs += double(l.rows);
    inputs += double(l.cols);
    ++layers;
  }
  // A token's numbers.
  const double norms_and_gate = 2 * hidden + wide;
  const bool fused = pass.fused && !c.qk_norm;  // with norms of q and k it computes products
  const double per_head = fused ? 1 : keys;     // a sum of exponentials, or probabilities
  double block = outputs + queries + per_head * double(c.heads) + 2 * double(pass.rank) * layers;
  block += c.qk_norm ? queries + key_rows : 0;
  block += c.norm == norm_kind::layer ? 2 * hidden : 0;
  block += pass.dropout ? 2 * inputs : 0;
  block += pass.again == recompute::norms_and_gates ? 0 : norms_and_gate;
  double shared = inputs + queries + 2 * key_rows + 2 * hidden;  // gradients of inputs, of Q, K, V
  shared += c.gated ? wide : 0;
  shared += c.qk_norm ? queries : 0;
  shared += pass.again == recompute::norms_and_gates ? norms_and_gate : 0;
  decoder_memory m;
  const bool again = pass.again == recompute::blocks;
  m.kept = tokens * (again ? block + double(c.blocks) * hidden : double(c.blocks) * block);
  const double tiles = fused ? 0 : double(pass.workers) * keys * std::min(tile, longest);
  m.shared = tokens * shared + tiles;
  const double columns = std::min(double(pass.chunk), double(pass.predicted));
  m.head = 4 * hidden * double(pass.predicted) + 2 * double(c.vocab_size) * columns;
  return m;
}

}  // namespace preheat::nn
