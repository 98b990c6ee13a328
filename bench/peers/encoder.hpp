// Work of an encoder of MiniLM's shape: a training step with every linear layer adapted.
#pragma once
#include <memory>
#include <preheat/nn/bert.hpp>
#include <string>
#include <utility>

#include "network_step.hpp"

namespace peers {

// The weights that Hugging Face's names mean, without a pooler.
inline nn::bert_weights<backend_type> given_bert(const inputs& given) {
  nn::bert_weights<backend_type> w;
  const auto norm = [&](const std::string& name) {
    return nn::layer_norm_weights<backend_type>{given.weight(name + ".weight"),
                                                given.weight(name + ".bias")};
  };
  w.frozen.embeddings = {given.batch("embeddings.word_embeddings.weight"),
                         given.batch("embeddings.position_embeddings.weight"),
                         given.batch("embeddings.token_type_embeddings.weight")};
  w.frozen.norm = norm("embeddings.LayerNorm");
  nn::bert_config& c = w.config;
  c.vocab_size = w.frozen.embeddings.words.cols();
  c.hidden_size = w.frozen.embeddings.words.rows();
  c.max_position_embeddings = w.frozen.embeddings.positions.cols();
  c.type_vocab_size = w.frozen.embeddings.types.cols();
  c.num_hidden_layers = given.whole("layers");
  c.num_attention_heads = given.whole("heads");
  for (index_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string block = "encoder.layer." + std::to_string(i) + ".";
    for (const char* part : nn::linear_layer_names) {
      const std::string name = block + part;
      w.layers.push_back(
          {name, given.frozen_weight(name + ".weight"), given.weight(name + ".bias")});
    }
    w.frozen.blocks.push_back(
        {norm(block + "attention.output.LayerNorm"), norm(block + "output.LayerNorm")});
  }
  c.intermediate_size = w.layers[4].W.rows();
  return w;
}

// Every step has a copy of the batch.
struct copy_encoder_batch {
  backend_type* be;
  void operator()(const nn::token_batch<backend_type>& from,
                  nn::token_batch<backend_type>& to) const {
    to.ids = from.ids;
    to.lengths = from.lengths;
    be->resize(to.target, 1, from.target.cols());
    be->copy(transpose::no, from.target, to.target);
  }
};
using encoder = nn::bert<backend_type, nn::mean_pool_head>;
using encoder_step = network_step<encoder, copy_encoder_batch>;

inline std::unique_ptr<work> make_encoder_step(backend_type& be, const inputs& given) {
  nn::token_batch<backend_type> batch;
  load_tokens(be, given, batch);
  batch.target = given.batch("labels");
  return std::make_unique<encoder_step>(
      given,
      encoder(be, given_bert(given), {given.weight("head.weight"), given.weight("head.bias")}),
      std::move(batch), copy_encoder_batch{&be});
}

}  // namespace peers
