// config.json of a causal language model, model_type llama, mistral, qwen2, qwen3 or gpt2, as
// transformers 4 and 5 write it.
//
//   const nn::decoder_config c = huggingface::read_decoder_config("SmolLM2-135M");
//
// Every field is used, or has no influence on the numbers (names, types of storage, tokens, dropout of
// the pretraining), or is refused. So are: another activation than silu, gelu, gelu_new and
// gelu_pytorch_tanh; rope types but default, linear and llama3; attention other than over all tokens or
// over a sliding window.
//
// Errors: io_error, naming the file and the field.
#pragma once
#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "../nn/decoder_config.hpp"
#include "config_fields.hpp"

namespace preheat::huggingface {

namespace detail {

inline nn::activation_kind activation_named(config_fields& fields, const char* field,
                                            std::string name) {
  fields.read(field, name);
  if (name == "silu" || name == "swish") {
    return nn::activation_kind::silu;
  }
  if (name == "gelu") {
    return nn::activation_kind::gelu;
  }
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") {
    return nn::activation_kind::gelu_tanh;
  }
  fields.fail(field, "silu, gelu, gelu_new and gelu_pytorch_tanh are understood, not " +
                         files::in_quotes(name));
}

// What rope_parameters (transformers 5) or rope_scaling (4) says. Older files call the type "type".
inline void read_rope_object(config_fields rope, nn::rotary_config& r) {
  std::string type = "default";
  std::string old_type;
  const bool both = rope.has("rope_type") && rope.has("type");
  rope.read("type", old_type);
  rope.read("rope_type", type);
  if (both && type != old_type) {
    rope.fail("type", "it differs from rope_type");
  }
  if (!old_type.empty()) {
    type = old_type;
  }
  rope.read("rope_theta", r.theta);
  if (type == "linear") {
    r.scaling = nn::rotary_scaling::linear;
    rope.read("factor", r.factor, true);
  } else if (type == "llama3") {
    r.scaling = nn::rotary_scaling::llama3;
    rope.read("factor", r.factor, true);
    rope.read("low_freq_factor", r.low_frequency_factor, true);
    rope.read("high_freq_factor", r.high_frequency_factor, true);
    rope.read("original_max_position_embeddings", r.original_positions, true);
  } else if (type != "default") {
    rope.fail("rope_type",
              "default, linear and llama3 are understood, not " + files::in_quotes(type));
  }
  rope.expect("partial_rotary_factor", 1.0);
  rope.finish();
}

inline void read_rope(config_fields& fields, nn::rotary_config& r) {
  fields.read("rope_theta", r.theta);
  if (fields.has("rope_parameters") && fields.has("rope_scaling")) {
    fields.fail("rope_scaling", "the file has rope_parameters too");
  }
  for (const char* const name : {"rope_parameters", "rope_scaling"}) {
    if (fields.has(name)) {
      read_rope_object(fields.object(name), r);
    }
  }
  fields.expect("partial_rotary_factor", 1.0);
  fields.expect("rope_interleaved", false);
}

// The window, and the blocks without it. layer_types says it block by block; Qwen has a switch, and the
// number of the first block with a window.
inline void read_window(config_fields& fields, const std::string& model, nn::decoder_config& c) {
  index_t window = 0;
  fields.read("sliding_window", window, false);
  index_t first = 0;
  if (model != "mistral") {
    bool used = false;
    index_t first_with_window = c.blocks;
    fields.read("use_sliding_window", used);
    fields.read("max_window_layers", first_with_window, false);
    first = used ? first_with_window : c.blocks;
  }
  std::vector<index_t> without;
  if (const nlohmann::json* const types = fields.value("layer_types")) {
    if (!types->is_array() || index_t(types->size()) != c.blocks) {
      fields.fail("layer_types", "a list of one text per block is needed");
    }
    for (index_t block = 0; block < c.blocks; ++block) {
      const nlohmann::json& type = (*types)[std::size_t(block)];
      if (type == "full_attention") {
        without.push_back(block);
      } else if (type != "sliding_attention") {
        fields.fail("layer_types", "full_attention and sliding_attention are understood, not " +
                                       files::in_quotes(type.dump()));
      } else if (window <= 0) {
        fields.fail("sliding_window", "layer_types needs a number >= 1");
      }
    }
  } else {
    for (index_t block = 0; block < std::min(first, c.blocks); ++block) {
      without.push_back(block);
    }
  }
  if (window > 0 && index_t(without.size()) < c.blocks) {
    c.window = window;
    c.blocks_without_window = std::move(without);
  }
}

inline void read_llama_like(config_fields& fields, const std::string& model,
                            nn::decoder_config& c) {
  fields.read("hidden_size", c.hidden_size);
  fields.read("intermediate_size", c.intermediate_size);
  fields.read("num_hidden_layers", c.blocks);
  fields.read("num_attention_heads", c.heads);
  c.key_value_heads = c.heads;
  fields.read("num_key_value_heads", c.key_value_heads, false);
  c.head_size = 0;
  fields.read("head_dim", c.head_size, false);
  if (c.head_size == 0 && c.heads > 0) {
    if (c.hidden_size % c.heads != 0) {
      fields.fail("hidden_size", "without head_dim it is a multiple of num_attention_heads");
    }
    c.head_size = c.hidden_size / c.heads;
  }
  fields.read("max_position_embeddings", c.max_positions);
  fields.read("rms_norm_eps", c.norm_epsilon, true);
  c.activation = activation_named(fields, "hidden_act", "silu");
  read_rope(fields, c.rotary);
  fields.read("tie_word_embeddings", c.tied_head);
  if (model == "llama" || model == "qwen3") {
    fields.read("attention_bias", c.qkv_bias);
    c.output_bias = c.qkv_bias;
  }
  if (model == "llama") {
    fields.read("mlp_bias", c.mlp_bias);
    fields.expect("pretraining_tp", 1);
  } else {
    read_window(fields, model, c);
  }
  if (model == "qwen2") {
    c.qkv_bias = true;
  }
  c.qk_norm = model == "qwen3";
}

inline void read_gpt2(config_fields& fields, nn::decoder_config& c) {
  fields.read("n_embd", c.hidden_size);
  fields.read("n_layer", c.blocks);
  fields.read("n_head", c.heads);
  fields.read("n_positions", c.max_positions);
  fields.read("layer_norm_epsilon", c.norm_epsilon);
  c.activation = activation_named(fields, "activation_function", "gelu_new");
  constexpr index_t reasonable = index_t(1) << 30;
  c.intermediate_size = c.hidden_size < reasonable ? 4 * c.hidden_size : c.hidden_size;
  fields.read("n_inner", c.intermediate_size, false);
  c.key_value_heads = c.heads;
  if (c.heads < 1 || c.hidden_size % c.heads != 0) {
    fields.fail("n_embd", "it is a multiple of n_head >= 1");
  }
  c.head_size = c.hidden_size / c.heads;
  c.norm = nn::norm_kind::layer;
  c.positions = nn::position_kind::learned;
  c.fused_qkv = c.qkv_bias = c.output_bias = c.mlp_bias = true;
  c.gated = false;
  c.names = nn::decoder_names::gpt2;
  c.tied_head = true;
  fields.read("tie_word_embeddings", c.tied_head);
  fields.expect("scale_attn_weights", true);
  fields.expect("scale_attn_by_inverse_layer_idx", false);
  fields.expect("add_cross_attention", false);
  fields.pass_over({"reorder_and_upcast_attn", "n_ctx", "attn_pdrop", "embd_pdrop", "resid_pdrop",
                    "summary_activation", "summary_first_dropout", "summary_proj_to_labels",
                    "summary_type", "summary_use_proj", "task_specific_params"});
}

}  // namespace detail

inline nn::decoder_config read_decoder_config(const std::filesystem::path& folder) {
  config_fields fields(folder / "config.json");
  std::string model;
  fields.read("model_type", model, true);
  nn::decoder_config c;
  fields.read("vocab_size", c.vocab_size);
  if (model == "llama" || model == "mistral" || model == "qwen2" || model == "qwen3") {
    detail::read_llama_like(fields, model, c);
  } else if (model == "gpt2") {
    detail::read_gpt2(fields, c);
  } else {
    fields.fail("model_type", "llama, mistral, qwen2, qwen3 and gpt2 are understood, not " +
                                  files::in_quotes(model));
  }
  fields.pass_over({"architectures",
                    "_name_or_path",
                    "name_or_path",
                    "transformers_version",
                    "torch_dtype",
                    "dtype",
                    "initializer_range",
                    "use_cache",
                    "bos_token_id",
                    "eos_token_id",
                    "pad_token_id",
                    "unk_token_id",
                    "attention_dropout",
                    "hidden_dropout",
                    "is_llama_config",
                    "transformers.js_config",
                    "gradient_checkpointing",
                    "id2label",
                    "label2id",
                    "output_attentions",
                    "output_hidden_states",
                    "_attn_implementation"});
  fields.finish();
  try {
    nn::require_valid(c);
  } catch (const invalid_argument& error) {
    fields.fail(error.what());
  }
  return c;
}

}  // namespace preheat::huggingface
