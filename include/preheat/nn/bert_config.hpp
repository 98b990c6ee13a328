// The shape of a BERT encoder, with the field names of Hugging Face's config.json.
#pragma once
#include "../core/error.hpp"
#include "../core/types.hpp"

namespace preheat::nn {

struct bert_config {
  index_t vocab_size = 30522;
  index_t hidden_size = 768;
  index_t num_hidden_layers = 12;
  index_t num_attention_heads = 12;
  index_t intermediate_size = 3072;
  index_t max_position_embeddings = 512;
  index_t type_vocab_size = 2;
  double layer_norm_eps = 1e-12;

  // The dropout of the pretraining. A network starts without dropout: see bert::set_dropout.
  double hidden_dropout = 0.1;
  double attention_dropout = 0.1;

  index_t head_size() const { return hidden_size / num_attention_heads; }
};

// Errors: invalid_argument, naming the field and the limit.
inline void require_valid(const bert_config& c) {
  require(c.vocab_size >= 1, "vocab_size >= 1", c.vocab_size, 1);
  require(c.hidden_size >= 1, "hidden_size >= 1", c.hidden_size, 1);
  require(c.num_hidden_layers >= 1, "num_hidden_layers >= 1", c.num_hidden_layers, 1);
  require(c.num_attention_heads >= 1, "num_attention_heads >= 1", c.num_attention_heads, 1);
  require(c.hidden_size % c.num_attention_heads == 0,
          "hidden_size is a multiple of num_attention_heads", c.hidden_size, c.num_attention_heads);
  require(c.intermediate_size >= 1, "intermediate_size >= 1", c.intermediate_size, 1);
  require(c.max_position_embeddings >= 1, "max_position_embeddings >= 1", c.max_position_embeddings,
          1);
  require(c.type_vocab_size >= 1, "type_vocab_size >= 1", c.type_vocab_size, 1);
  require(c.layer_norm_eps > 0, "layer_norm_eps > 0", c.layer_norm_eps, 0.0);
  require(0 <= c.hidden_dropout && c.hidden_dropout < 1, "0 <= hidden_dropout < 1",
          c.hidden_dropout, 1.0);
  require(0 <= c.attention_dropout && c.attention_dropout < 1, "0 <= attention_dropout < 1",
          c.attention_dropout, 1.0);
}

}  // namespace preheat::nn
