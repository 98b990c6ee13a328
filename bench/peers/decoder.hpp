// Work of a language model of SmolLM2-135M's shape: a training step with every linear layer of its blocks adapted,
// and the products with the frozen weights that no such step can do without.
#pragma once
#include <algorithm>
#include <memory>
#include <preheat/nn/decoder.hpp>
#if defined(PREHEAT_CUDNN)
#include <preheat/cuda/fused_attention.hpp>
#include <preheat/nn/fused_attention.hpp>
#endif
#include <string>
#include <utility>

#include "network_step.hpp"

namespace peers {

// The weights that Hugging Face's names for Llama mean, with a tied head. A file may have those of its first blocks only,
// "given_blocks", which later blocks repeat.
inline nn::decoder_weights<backend_type> given_decoder(const inputs& given) {
  nn::decoder_weights<backend_type> w;
  const auto norm = [&](const std::string& name) {
    return nn::norm_weights<backend_type>{given.weight(name + ".weight")};
  };
  w.frozen.words = given.batch("model.embed_tokens.weight");
  w.frozen.norm = norm("model.norm");
  nn::decoder_config& c = w.config;
  c.hidden_size = w.frozen.words.rows();
  c.vocab_size = w.frozen.words.cols();
  c.blocks = given.whole("layers");
  c.heads = given.whole("heads");
  c.key_value_heads = given.whole("key_value_heads");
  c.head_size = c.hidden_size / c.heads;
  c.intermediate_size = given.whole("wide");
  c.max_positions = given.whole("positions");
  c.tied_head = true;
  const index_t distinct = given.has("given_blocks") ? given.whole("given_blocks") : c.blocks;
  for (index_t i = 0; i < c.blocks; ++i) {
    const std::string block = nn::block_prefix(c, i % distinct);
    for (const nn::decoder_layer_shape& layer : nn::linear_layers_of_block(c)) {
      w.layers.push_back({nn::block_prefix(c, i) + layer.name,
                          given.frozen_weight(block + layer.name + ".weight")});
    }
    w.frozen.blocks.push_back(
        {norm(block + "input_layernorm"), norm(block + "post_attention_layernorm")});
  }
  return w;
}

// Every step has a copy of the batch.
struct copy_decoder_batch {
  void operator()(const nn::causal_batch<backend_type>& from,
                  nn::causal_batch<backend_type>& to) const {
    to = from;
  }
};
#if defined(PREHEAT_CUDNN)
template <class Be>
using cudnn_attention = nn::fused_attention<Be, cuda_fused_attention>;
using language_model = nn::decoder<backend_type, cudnn_attention>;
#else
using language_model = nn::decoder<backend_type>;
#endif
using decoder_step = network_step<language_model, copy_decoder_batch>;

inline std::unique_ptr<work> make_decoder_step(backend_type& be, const inputs& given) {
  nn::causal_batch<backend_type> batch;
  load_tokens(be, given, batch);
  batch.labels = batch.ids;
  return std::make_unique<decoder_step>(given, language_model(be, given_decoder(given)),
                                        std::move(batch), copy_decoder_batch{});
}

// Those of the layers, and of the head on all tokens from which one is predicted; the logits are made in chunks
// here too.
class decoder_products : public work {
 public:
  decoder_products(backend_type& be, nn::decoder_weights<backend_type> w, index_t tokens,
                   index_t predicted)
      : be_(be),
        layers_(be, std::move(w.layers), tokens),
        words_(std::move(w.frozen.words)),
        X_(linalg::normal(be, words_.rows(), predicted, 1, generator(1))),
        dX_(be.zeros(words_.rows(), predicted)),
        logits_(be.zeros(words_.cols(), std::min(chunk, predicted))) {}

  void run() override {
    layers_.run();
    for (index_t first = 0; first < X_.cols(); first += chunk) {
      const index_t n = std::min(chunk, X_.cols() - first);
      const auto Z = view(logits_).col_range(0, n);
      be_.gemm(1, transpose::yes, words_, transpose::no, view(X_).col_range(first, n), 0, Z);
      be_.gemm(1, transpose::no, words_, transpose::no, Z, 0, view(dX_).col_range(first, n));
    }
  }
  void save(outputs&) override {}

 private:
  static constexpr index_t chunk = 128;

  backend_type& be_;
  layer_products layers_;
  matrix words_, X_, dX_, logits_;
};

}  // namespace peers
