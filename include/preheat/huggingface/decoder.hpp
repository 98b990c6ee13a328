// Causal language models as Hugging Face saves them: a folder with config.json and model.safetensors
// (or its shards). Llama, Mistral, Qwen2, Qwen3 and GPT-2.
//
//   auto net = nn::decoder<Be>(be, huggingface::read_decoder(be, "SmolLM2-135M"));
//
// F64, F32, F16 and BF16 are converted to the backend's scalar: the weights take that much memory, and
// while one tensor is read twice its size more. Or they are kept as the files have them, or in bf16 or
// NF4 (weight_storage, core/stored_matrix.hpp): linear layers and an own head, on a CPU the embedding too. As the
// files have them means on a device: in bf16 for BF16 and F16, dense for F32 and F64. Names may begin with "model." (GPT-2: "transformer.")
// or not. GPT-2 stores its matrices transposed. Buffers that the config determines (inv_freq, GPT-2's
// causal mask) are passed over, and so is the head of a tied model if it equals the embedding.
//
// Errors: io_error, naming the file and the field (huggingface/decoder_config.hpp), or the tensor with
// its shapes: missing, unknown, of another shape than in the config, not floating-point, not finite, or
// a head that is not the embedding although the config ties them.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "../nn/decoder_weights.hpp"
#include "checkpoint.hpp"
#include "decoder_config.hpp"

namespace preheat::huggingface {

namespace detail {

// The names of the tensors that are no linear layers, after the prefix.
struct decoder_tensor_names {
  const char* prefix;
  const char* words;
  const char* positions;
  const char* attention_norm;  // of a block
  const char* mlp_norm;
  const char* last_norm;
};
inline decoder_tensor_names tensor_names(nn::decoder_names names) {
  if (names == nn::decoder_names::gpt2) {
    return {"transformer.", "wte", "wpe", "ln_1", "ln_2", "ln_f"};
  }
  return {
      "model.", "embed_tokens", "embed_positions", "input_layernorm", "post_attention_layernorm",
      "norm"};
}

template <backend Be>
nn::norm_weights<Be> read_norm(checkpoint<Be>& file, const nn::decoder_config& c,
                               const std::string& name) {
  nn::norm_weights<Be> norm{file.vector(name + ".weight", c.hidden_size)};
  if (c.norm == nn::norm_kind::layer) {
    norm.beta = file.vector(name + ".bias", c.hidden_size);
  }
  return norm;
}

// `stored` is the name in the file, without the prefix.
template <backend Be>
weight_of<Be> read_weight(checkpoint<Be>& file, const nn::decoder_config& c, weight_storage keep,
                          const std::string& name, index_t rows, index_t cols) {
  const bool transposed = c.names == nn::decoder_names::gpt2 && name != "lm_head.weight";
  return storage::kept_by<Be>(
      file.backend(), keep,
      [&] { return transposed ? file.table(name, cols, rows) : file.matrix(name, rows, cols); },
      [&](weight_storage type) { return file.stored_rows(name, rows, cols, type); },
      [&](auto& device) { return file.as_it_is(device, name, rows, cols); });
}

template <backend Be>
base_layer<Be> read_linear(checkpoint<Be>& file, const nn::decoder_config& c, weight_storage keep,
                           const nn::decoder_layer_shape& shape, const std::string& stored,
                           const std::string& name) {
  base_layer<Be> layer{name,
                       read_weight(file, c, keep, stored + ".weight", shape.rows, shape.cols)};
  if (shape.bias) {
    layer.b = file.vector(stored + ".bias", shape.rows);
  }
  return layer;
}

}  // namespace detail

template <backend Be>
nn::decoder_weights<Be> read_decoder(Be& be, const std::filesystem::path& folder,
                                     weight_storage keep = weight_storage::dense) {
  storage::require_keeps<Be>(keep);
  nn::decoder_weights<Be> w;
  w.config = read_decoder_config(folder);
  const nn::decoder_config& c = w.config;
  require(keep == weight_storage::dense ||
              (keep == weight_storage::bf16 && storage::keeps_on_device<Be>) ||
              c.names != nn::decoder_names::gpt2,
          "a folder of GPT-2 has its matrices transposed: read it with weight_storage::dense, or "
          "from a GGUF file");
  const detail::decoder_tensor_names names = detail::tensor_names(c.names);
  const std::string prefix = names.prefix;
  checkpoint<Be> file(be, folder, prefix, "a decoder");

  const std::string words = std::string(names.words) + ".weight";
  if (keep == weight_storage::dense || !stored_matrix_backend<Be>) {
    w.frozen.words = file.table(words, c.vocab_size, c.hidden_size);
  } else {
    w.frozen.word_rows = file.stored_rows(words, c.vocab_size, c.hidden_size, keep);
  }
  if (c.positions == nn::position_kind::learned) {
    w.frozen.positions =
        file.table(std::string(names.positions) + ".weight", c.max_positions, c.hidden_size);
  }
  const auto shapes = nn::linear_layers_of_block(c);
  for (index_t i = 0; i < c.blocks; ++i) {
    const std::string block = nn::block_prefix(c, i);
    const std::string stored = block.substr(prefix.size());
    for (const nn::decoder_layer_shape& shape : shapes) {
      w.layers.push_back(
          detail::read_linear(file, c, keep, shape, stored + shape.name, block + shape.name));
    }
    nn::decoder_block_norms<Be> norms{detail::read_norm(file, c, stored + names.attention_norm),
                                      detail::read_norm(file, c, stored + names.mlp_norm)};
    if (c.qk_norm) {
      norms.query = file.vector(stored + "self_attn.q_norm.weight", c.head_size);
      norms.key = file.vector(stored + "self_attn.k_norm.weight", c.head_size);
    }
    w.frozen.blocks.push_back(std::move(norms));
  }
  w.frozen.norm = detail::read_norm(file, c, names.last_norm);
  const std::string head = "lm_head.weight";
  if (!c.tied_head) {
    w.layers.push_back(
        {"lm_head", detail::read_weight(file, c, keep, head, c.vocab_size, c.hidden_size)});
  } else if (file.contains(head)) {
    bool same = false;
    if (w.frozen.word_rows.empty()) {
      mat<Be> own = file.table(head, c.vocab_size, c.hidden_size);
      be.apply(linalg::axpby<scalar_of<Be>>{-1, 1}, own, const_view_of<Be>(w.frozen.words));
      same = be.max_abs(own) == 0;
    } else {
      same = storage::equal(
          file.stored_rows(head, c.vocab_size, c.hidden_size, weight_storage::as_stored),
          file.stored_rows(words, c.vocab_size, c.hidden_size, weight_storage::as_stored));
    }
    if (!same) {
      file.fail(head, "it is not the embedding, although the config says tie_word_embeddings");
    }
  }
  file.finish([](const std::string& name) {
    return name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".attn.bias") ||
           name.ends_with(".attn.masked_bias");
  });
  return w;
}

}  // namespace preheat::huggingface
