// Small decoders of random weights on any backend, one for every option of a block, and batches.
#pragma once
#include <preheat/nn/decoder.hpp>
#include <string>
#include <utility>
#include <vector>

#include "table.hpp"

namespace conformance {

inline preheat::nn::decoder_config small_llama() {
  preheat::nn::decoder_config c;
  c.vocab_size = 11;
  c.hidden_size = 6;
  c.intermediate_size = 7;
  c.blocks = 2;
  c.heads = 4;
  c.key_value_heads = 2;
  c.head_size = 4;
  c.max_positions = 40;
  c.rotary.theta = 30;
  return c;
}
inline preheat::nn::decoder_config small_gpt2() {
  namespace nn = preheat::nn;
  nn::decoder_config c = small_llama();
  c.key_value_heads = c.heads;
  c.norm = nn::norm_kind::layer;
  c.positions = nn::position_kind::learned;
  c.fused_qkv = c.qkv_bias = c.output_bias = c.mlp_bias = c.tied_head = true;
  c.gated = false;
  c.activation = nn::activation_kind::gelu_tanh;
  c.names = nn::decoder_names::gpt2;
  return c;
}

// Every option of a block, by name.
struct named_config {
  std::string name;
  preheat::nn::decoder_config config;
};
inline std::vector<named_config> small_decoders() {
  namespace nn = preheat::nn;
  std::vector<named_config> all;
  const auto add = [&](const std::string& name, nn::decoder_config c, auto change) {
    change(c);
    all.push_back({name, c});
  };
  using config = nn::decoder_config;
  add("llama", small_llama(), [](config&) {});
  add("a window of 3", small_llama(), [](config& c) { c.window = 3; });
  add("a window of 3 in the second block", small_llama(), [](config& c) {
    c.window = 3;
    c.blocks_without_window = {0};
  });
  add("a window of 1", small_llama(), [](config& c) { c.window = 1; });
  add("biases on q, k, v and a tied head", small_llama(),
      [](config& c) { c.qkv_bias = c.tied_head = true; });
  add("biases everywhere", small_llama(),
      [](config& c) { c.qkv_bias = c.output_bias = c.mlp_bias = true; });
  add("norms of q and k", small_llama(), [](config& c) { c.qk_norm = true; });
  add("norms of q and k in one layer", small_llama(),
      [](config& c) { c.qk_norm = c.fused_qkv = true; });
  add("one key for all heads", small_llama(), [](config& c) { c.key_value_heads = 1; });
  add("linear positions", small_llama(), [](config& c) {
    c.rotary.scaling = nn::rotary_scaling::linear;
    c.rotary.factor = 2.5;
  });
  add("llama3 positions", small_llama(),
      [](config& c) { c.rotary = {30, nn::rotary_scaling::llama3, 8, 1, 4, 20}; });
  add("gelu gate", small_llama(), [](config& c) { c.activation = nn::activation_kind::gelu; });
  add("gelu_tanh gate", small_llama(),
      [](config& c) { c.activation = nn::activation_kind::gelu_tanh; });
  add("plain silu", small_llama(), [](config& c) { c.gated = false; });
  add("gpt2", small_gpt2(), [](config&) {});
  add("gpt2 with exact gelu and its own head", small_gpt2(), [](config& c) {
    c.activation = nn::activation_kind::gelu;
    c.tied_head = false;
  });
  return all;
}

template <class Be>
preheat::nn::decoder_weights<Be> small_decoder_weights(Be& be,
                                                       const preheat::nn::decoder_config& c) {
  namespace nn = preheat::nn;
  nn::decoder_weights<Be> w;
  w.config = c;
  std::uint64_t seed = 2000;
  const auto random = [&](index_t rows, index_t cols, double scale) {
    return matrix(be, scale * random_table(rows, cols, ++seed));
  };
  const auto gamma = [&](index_t size) {
    return matrix(be, table(size, 1, 1) + 0.3 * random_table(size, 1, ++seed));
  };
  const auto norm = [&] {
    nn::norm_weights<Be> n{gamma(c.hidden_size)};
    if (c.norm == nn::norm_kind::layer) {
      n.beta = random(c.hidden_size, 1, 0.3);
    }
    return n;
  };
  w.frozen.words = random(c.hidden_size, c.vocab_size, 1);
  if (c.positions == nn::position_kind::learned) {
    w.frozen.positions = random(c.hidden_size, c.max_positions, 0.5);
  }
  for (index_t i = 0; i < c.blocks; ++i) {
    for (const nn::decoder_layer_shape& s : nn::linear_layers_of_block(c)) {
      w.layers.push_back({nn::block_prefix(c, i) + s.name, random(s.rows, s.cols, 0.6)});
      if (s.bias) {
        w.layers.back().b = random(s.rows, 1, 0.3);
      }
    }
    nn::decoder_block_norms<Be> norms{norm(), norm()};
    if (c.qk_norm) {
      norms.query = gamma(c.head_size);
      norms.key = gamma(c.head_size);
    }
    w.frozen.blocks.push_back(std::move(norms));
  }
  w.frozen.norm = norm();
  if (!c.tied_head) {
    w.layers.push_back({"lm_head", random(c.vocab_size, c.hidden_size, 0.6)});
  }
  return w;
}
template <class Be>
preheat::nn::decoder<Be> small_decoder(Be& be, const preheat::nn::decoder_config& c) {
  return {be, small_decoder_weights(be, c)};
}

// Four sequences of 5, 1, 7 and 2 tokens; some labels do not count, all of the last sequence's.
template <class Be>
preheat::nn::causal_batch<Be> small_text() {
  constexpr index_t no = preheat::nn::not_counted;
  return {{1, 5, 10, 3, 7, 0, 2, 2, 9, 8, 4, 6, 1, 3, 3},
          {1, no, 10, 3, 7, 0, 2, 2, no, no, 4, no, 1, 3, no},
          {5, 1, 7, 2}};
}
// The sequence s of a batch alone.
template <class Be>
preheat::nn::causal_batch<Be> sequence_of(const preheat::nn::causal_batch<Be>& batch,
                                          std::size_t s) {
  index_t first = 0;
  for (std::size_t k = 0; k < s; ++k) {
    first += batch.lengths[k];
  }
  const index_t end = first + batch.lengths[s];
  return {{batch.ids.begin() + first, batch.ids.begin() + end},
          {batch.labels.begin() + first, batch.labels.begin() + end},
          {batch.lengths[s]}};
}

}  // namespace conformance
