// BERT encoders as Hugging Face saves them: a folder with config.json and model.safetensors (or its
// shards). Tensor names may begin with "bert.", as in the files of a classifier.
//
//   const nn::bert_config shape = huggingface::read_bert_config("all-MiniLM-L6-v2");
//   nn::bert_weights<Be> weights = huggingface::read_bert(be, "all-MiniLM-L6-v2");
//
// F64, F32, F16 and BF16 are converted to the backend's scalar. The pooler and a classifier are
// read if they exist. The heads of pretraining ("cls.…") and the constant position_ids are ignored.
//
// Errors: io_error, naming the file and the field or the tensor with its shapes, for a config of
// another kind of model (relu, relative positions, decoders); for a tensor that is missing,
// unknown, of another shape than in the config, or not floating-point; and for a number that is not
// finite.
#pragma once
#include <filesystem>
#include <string>
#include <utility>

#include "../nn/bert_weights.hpp"
#include "checkpoint.hpp"
#include "config_fields.hpp"

namespace preheat::huggingface {

inline nn::bert_config read_bert_config(const std::filesystem::path& folder) {
  config_fields fields(folder / "config.json");
  fields.expect("model_type", "bert", true);
  fields.expect("hidden_act", "gelu");
  fields.expect("position_embedding_type", "absolute");
  fields.expect("is_decoder", false);
  fields.expect("add_cross_attention", false);
  nn::bert_config c;
  fields.read("vocab_size", c.vocab_size);
  fields.read("hidden_size", c.hidden_size);
  fields.read("num_hidden_layers", c.num_hidden_layers);
  fields.read("num_attention_heads", c.num_attention_heads);
  fields.read("intermediate_size", c.intermediate_size);
  fields.read("max_position_embeddings", c.max_position_embeddings, false);
  fields.read("type_vocab_size", c.type_vocab_size, false);
  fields.read("layer_norm_eps", c.layer_norm_eps);
  fields.read("hidden_dropout_prob", c.hidden_dropout);
  fields.read("attention_probs_dropout_prob", c.attention_dropout);
  try {
    nn::require_valid(c);
  } catch (const invalid_argument& error) {
    fields.fail(error.what());
  }
  return c;
}

namespace detail {

// Old checkpoints call the weight gamma and the bias beta.
template <backend Be>
nn::layer_norm_weights<Be> read_bert_norm(checkpoint<Be>& file, const std::string& name,
                                          index_t size) {
  const bool old = file.contains(name + ".gamma");
  return {file.vector(name + (old ? ".gamma" : ".weight"), size),
          file.vector(name + (old ? ".beta" : ".bias"), size)};
}

}  // namespace detail

template <backend Be>
nn::bert_weights<Be> read_bert(Be& be, const std::filesystem::path& folder) {
  nn::bert_weights<Be> w;
  w.config = read_bert_config(folder);
  const nn::bert_config& c = w.config;
  const index_t size = c.hidden_size;
  checkpoint<Be> file(be, folder, "bert.", "a BERT encoder");

  w.frozen.embeddings = {
      file.table("embeddings.word_embeddings.weight", c.vocab_size, size),
      file.table("embeddings.position_embeddings.weight", c.max_position_embeddings, size),
      file.table("embeddings.token_type_embeddings.weight", c.type_vocab_size, size)};
  w.frozen.norm = detail::read_bert_norm(file, "embeddings.LayerNorm", size);
  const auto shapes = nn::linear_layer_shapes(c);
  for (index_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string block = "encoder.layer." + std::to_string(i) + ".";
    for (std::size_t k = 0; k < shapes.size(); ++k) {
      w.layers.push_back(
          file.linear(block + nn::linear_layer_names[k], shapes[k][0], shapes[k][1]));
    }
    w.frozen.blocks.push_back(
        {detail::read_bert_norm(file, block + "attention.output.LayerNorm", size),
         detail::read_bert_norm(file, block + "output.LayerNorm", size)});
  }
  if (file.contains("pooler.dense.weight") || file.contains("pooler.dense.bias")) {
    w.pooler = file.linear("pooler.dense", size, size);
  }
  if (file.contains("classifier.weight") || file.contains("classifier.bias")) {
    const index_t classes = file.rows("classifier.weight");
    w.classifier = {file.matrix("classifier.weight", classes, size),
                    file.vector("classifier.bias", classes)};
  }
  file.finish([](const std::string& name) {
    return name.starts_with("cls.") || name == "embeddings.position_ids";
  });
  return w;
}

}  // namespace preheat::huggingface
