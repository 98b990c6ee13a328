// The shape of a decoder: one struct for Llama, Mistral, Qwen2, Qwen3 and GPT-2. Models differ in
// these fields and in nothing else.
//
//   field        Llama, Mistral   Qwen2   Qwen3   GPT-2
//   norm         rms              rms     rms     layer
//   positions    rotary           rotary  rotary  learned
//   window       0, w             0, w    0, w    0
//   qkv_bias     no               yes     no      yes (and output_bias, mlp_bias)
//   qk_norm      no               no      yes     no
//   fused_qkv    no               no      no      yes
//   gated, act   yes, silu        as Llama        no, gelu_tanh
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"

namespace preheat::nn {

enum class norm_kind { rms, layer };
enum class position_kind { rotary, learned };
// silu(z) = z·σ(z); gelu is exact; gelu_tanh is the approximation by tanh, "gelu_new" of GPT-2.
enum class activation_kind { silu, gelu, gelu_tanh };

// How rotary frequencies are slowed down for texts longer than those of the pretraining.
enum class rotary_scaling { none, linear, llama3 };
struct rotary_config {
  double theta = 10000;
  rotary_scaling scaling = rotary_scaling::none;
  double factor = 1;
  double low_frequency_factor = 1;  // of llama3, as the next two
  double high_frequency_factor = 4;
  double original_positions = 8192;
  // One for each frequency, which is divided by it; none: 1. What a GGUF file has instead of llama3.
  std::vector<double> divisors{};
  bool operator==(const rotary_config&) const = default;
};

// The names of Hugging Face's modules.
enum class decoder_names { llama, gpt2 };

struct decoder_config {
  index_t vocab_size = 32000;
  index_t hidden_size = 4096;
  index_t intermediate_size = 11008;
  index_t blocks = 32;
  index_t heads = 32;
  index_t key_value_heads = 32;  // each serves heads/key_value_heads queries
  index_t head_size = 128;       // need not be hidden_size/heads
  index_t max_positions = 2048;

  norm_kind norm = norm_kind::rms;
  double norm_epsilon = 1e-5;
  position_kind positions = position_kind::rotary;
  rotary_config rotary{};
  index_t window = 0;  // a token sees so many tokens, itself among them; 0: all before it
  std::vector<index_t> blocks_without_window{};  // which see all before it in any case
  bool qk_norm = false;
  bool fused_qkv = false;  // one linear layer with the rows of Q, K and V
  bool qkv_bias = false;
  bool output_bias = false;
  bool mlp_bias = false;
  bool gated = true;
  activation_kind activation = activation_kind::silu;
  bool tied_head = false;  // the head's matrix is the embedding of the tokens
  decoder_names names = decoder_names::llama;

  bool operator==(const decoder_config&) const = default;

  index_t query_rows() const { return heads * head_size; }
  index_t key_rows() const { return key_value_heads * head_size; }
  index_t window_of(index_t block) const {
    const auto& all = blocks_without_window;
    return std::find(all.begin(), all.end(), block) == all.end() ? window : 0;
  }
};

// Errors: invalid_argument, naming the field and the limit.
inline void require_valid(const decoder_config& c) {
  constexpr index_t largest = index_t(1) << 30;  // no product of two of these overflows
  const auto size = [](index_t value, const char* name) {
    require(value >= 1, std::string(name) + " >= 1", value, 1);
    require(value <= largest, std::string(name) + " <= 2^30", value, largest);
  };
  size(c.vocab_size, "vocab_size");
  require(c.vocab_size <= (index_t(1) << 24), "vocab_size <= 2^24, to be exact as a float",
          c.vocab_size, index_t(1) << 24);
  size(c.hidden_size, "hidden_size");
  size(c.intermediate_size, "intermediate_size");
  size(c.blocks, "blocks");
  size(c.heads, "heads");
  size(c.key_value_heads, "key_value_heads");
  size(c.head_size, "head_size");
  size(c.max_positions, "max_positions");
  require(c.heads % c.key_value_heads == 0, "heads is a multiple of key_value_heads", c.heads,
          c.key_value_heads);
  require(c.heads <= largest / c.head_size, "heads·head_size <= 2^30", c.heads,
          largest / c.head_size);
  require(c.norm_epsilon > 0, "norm_epsilon > 0", c.norm_epsilon, 0.0);
  require(c.window >= 0, "window >= 0", c.window, 0);
  for (const index_t block : c.blocks_without_window) {
    require(0 <= block && block < c.blocks, "0 <= a block without window < blocks", block,
            c.blocks);
  }
  if (c.positions == position_kind::rotary) {
    const rotary_config& r = c.rotary;
    require(c.head_size % 2 == 0, "rotary positions: head_size is even", c.head_size, 2);
    require(r.theta > 0, "rotary theta > 0", r.theta, 0.0);
    require(r.factor > 0, "rotary factor > 0", r.factor, 0.0);
    require(r.divisors.empty() || index_t(r.divisors.size()) == c.head_size / 2,
            "rotary divisors: none, or head_size/2", r.divisors.size(), c.head_size / 2);
    for (const double divisor : r.divisors) {
      require(divisor > 0 && std::isfinite(divisor), "rotary divisors > 0 and finite", divisor,
              0.0);
    }
    if (r.scaling == rotary_scaling::llama3) {
      require(0 < r.low_frequency_factor && r.low_frequency_factor < r.high_frequency_factor,
              "llama3: 0 < low_freq_factor < high_freq_factor", r.low_frequency_factor,
              r.high_frequency_factor);
      require(r.original_positions > 0, "llama3: original positions > 0", r.original_positions,
              0.0);
    }
  }
}

// One linear layer of a block: its name behind the block's prefix, its shape out×in, its bias.
struct decoder_layer_shape {
  std::string name;
  index_t rows, cols;
  bool bias;
};

// The linear layers of a block in the order of the network: Q, K, V (or the three as one), the
// attention's output, gate (if gated), up, down.
inline std::vector<decoder_layer_shape> linear_layers_of_block(const decoder_config& c) {
  const bool llama = c.names == decoder_names::llama;
  const std::string attention = llama ? "self_attn." : "attn.";
  const index_t d = c.hidden_size;
  const index_t wide = c.intermediate_size;
  std::vector<decoder_layer_shape> layers;
  if (c.fused_qkv) {
    layers.push_back({attention + (llama ? "qkv_proj" : "c_attn"),
                      c.query_rows() + 2 * c.key_rows(), d, c.qkv_bias});
  } else {
    layers.push_back({attention + "q_proj", c.query_rows(), d, c.qkv_bias});
    layers.push_back({attention + "k_proj", c.key_rows(), d, c.qkv_bias});
    layers.push_back({attention + "v_proj", c.key_rows(), d, c.qkv_bias});
  }
  layers.push_back({attention + (llama ? "o_proj" : "c_proj"), d, c.query_rows(), c.output_bias});
  if (c.gated) {
    layers.push_back({"mlp.gate_proj", wide, d, c.mlp_bias});
  }
  layers.push_back({llama ? "mlp.up_proj" : "mlp.c_fc", wide, d, c.mlp_bias});
  layers.push_back({llama ? "mlp.down_proj" : "mlp.c_proj", d, wide, c.mlp_bias});
  return layers;
}
inline index_t layers_per_block(const decoder_config& c) {
  return (c.fused_qkv ? 1 : 3) + 1 + (c.gated ? 3 : 2);
}
// "model.layers.3." or "transformer.h.3."
inline std::string block_prefix(const decoder_config& c, index_t block) {
  return (c.names == decoder_names::llama ? "model.layers." : "transformer.h.") +
         std::to_string(block) + ".";
}

}  // namespace preheat::nn
