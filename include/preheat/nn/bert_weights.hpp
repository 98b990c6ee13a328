// The weights of a BERT encoder as they are in a file, for nn::bert. huggingface/bert.hpp reads
// them.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "bert_config.hpp"
#include "embedding.hpp"
#include "layer_norm.hpp"
#include "weight_checks.hpp"

namespace preheat::nn {

// The linear layers of one encoder layer, in this order and with these names after
// "encoder.layer.N.".
inline constexpr index_t linear_layers_per_block = 6;
inline constexpr std::array<const char*, linear_layers_per_block> linear_layer_names = {
    "attention.self.query",   "attention.self.key", "attention.self.value",
    "attention.output.dense", "intermediate.dense", "output.dense"};

template <class Be>
struct bert_block_norms {
  layer_norm_weights<Be> attention;  // attention.output.LayerNorm
  layer_norm_weights<Be> output;     // output.LayerNorm
};

// The weights that are never trained, and so shared by copies of a network.
template <class Be>
struct bert_frozen {
  embedding_tables<Be> embeddings;
  layer_norm_weights<Be> norm;  // embeddings.LayerNorm
  std::vector<bert_block_norms<Be>> blocks;
};

template <class Be>
struct bert_weights {
  bert_config config;
  bert_frozen<Be> frozen;
  std::vector<base_layer<Be>> layers;      // "encoder.layer.0.attention.self.query", …
  std::optional<base_layer<Be>> pooler{};  // "pooler.dense"
  std::optional<head_params<Be>> classifier{};
};

// The out×in shape of each linear layer of a block.
inline std::array<std::array<index_t, 2>, linear_layers_per_block> linear_layer_shapes(
    const bert_config& c) {
  const index_t d = c.hidden_size;
  const index_t wide = c.intermediate_size;
  return {{{d, d}, {d, d}, {d, d}, {d, d}, {wide, d}, {d, wide}}};
}

// Errors: invalid_argument, naming the weight that does not fit the config.
template <backend Be>
void require_valid(Be& be, const bert_weights<Be>& w) {
  const bert_config& c = w.config;
  require_valid(c);
  const auto normed = [&](const layer_norm_weights<Be>& norm, const std::string& name) {
    require_weight<Be>(be, norm.gamma, c.hidden_size, 1, name + ".weight");
    require_weight<Be>(be, norm.beta, c.hidden_size, 1, name + ".bias");
  };
  const auto& tables = w.frozen.embeddings;
  require_weight<Be>(be, tables.words, c.hidden_size, c.vocab_size, "word_embeddings");
  require_weight<Be>(be, tables.positions, c.hidden_size, c.max_position_embeddings,
                     "position_embeddings");
  require_weight<Be>(be, tables.types, c.hidden_size, c.type_vocab_size, "token_type_embeddings");
  normed(w.frozen.norm, "embeddings.LayerNorm");
  const std::size_t blocks = std::size_t(c.num_hidden_layers);
  require(w.frozen.blocks.size() == blocks, "layer norms of every encoder layer",
          w.frozen.blocks.size(), blocks);
  require(w.layers.size() == blocks * std::size_t(linear_layers_per_block),
          "six linear layers per encoder layer", w.layers.size(), blocks * 6);
  const auto shapes = linear_layer_shapes(c);
  for (std::size_t i = 0; i < blocks; ++i) {
    const std::string prefix = "encoder.layer." + std::to_string(i) + ".";
    for (std::size_t k = 0; k < shapes.size(); ++k) {
      require_linear(be, w.layers[i * shapes.size() + k], prefix + linear_layer_names[k],
                     shapes[k][0], shapes[k][1], true);
    }
    normed(w.frozen.blocks[i].attention, prefix + "attention.output.LayerNorm");
    normed(w.frozen.blocks[i].output, prefix + "output.LayerNorm");
  }
  if (w.pooler) {
    require_linear(be, *w.pooler, "pooler.dense", c.hidden_size, c.hidden_size, true);
  }
}

}  // namespace preheat::nn
