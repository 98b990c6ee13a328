// What the metadata and the tensors of a GGUF file say about the shape of a decoder. Architectures
// llama (Mistral too), qwen2, qwen3 and gpt2.
//
//   const gguf::reader file("SmolLM2-135M-Instruct.Q4_1.gguf");
//   const nn::decoder_config c = gguf::read_decoder_config(file);
//
// Every key is used, or has no influence on the numbers (general.*, tokenizer.*, quantize.imatrix.*), or
// is refused: other rope scalings than linear, experts, heads that differ from block to block, a file that is one of
// several (split.count). Whether there are biases and an own head, the tensors say. The
// frequencies of Llama 3 are the tensor rope_freqs.weight, not metadata.
//
// Errors: io_error, naming the file and the key or tensor.
#pragma once
#include <charconv>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../nn/decoder_config.hpp"
#include "reader.hpp"
#include "tensor_names.hpp"

namespace preheat::gguf {

namespace detail {

// A converter rounds a decimal of config.json to float. This is the double of the shortest decimal that
// rounds to the same float: 1e-5, not 9.9999997e-6.
inline double decimal_of(float x) {
  char text[32];
  const std::to_chars_result end = std::to_chars(text, text + sizeof text, x);
  double value = 0;
  std::from_chars(text, end.ptr, value);
  return value;
}

// The keys of one architecture: "llama.block_count".
class decoder_keys {
 public:
  decoder_keys(metadata_reader& metadata, std::string architecture)
      : metadata_(metadata), prefix_(std::move(architecture) + ".") {}

  index_t whole(const std::string& key) { return metadata_.get<index_t>(prefix_ + key); }
  index_t whole_or(const std::string& key, index_t otherwise) {
    return metadata_.get_or<index_t>(prefix_ + key, otherwise);
  }
  double decimal(const std::string& key) {
    const float value = metadata_.get<float>(prefix_ + key);
    if (!std::isfinite(value)) {
      fail(key, "it is not finite");
    }
    return decimal_of(value);
  }
  double decimal_or(const std::string& key, double otherwise) {
    return metadata_.contains(prefix_ + key) ? decimal(key) : otherwise;
  }
  std::string text_or(const std::string& key, const std::string& otherwise) {
    return metadata_.get_or<std::string>(prefix_ + key, otherwise);
  }
  // If the key is there, its value is this one.
  void expect(const std::string& key, index_t wanted) {
    const index_t value = whole_or(key, wanted);
    if (value != wanted) {
      fail(key, std::to_string(wanted) + " is understood, not " + std::to_string(value));
    }
  }
  [[noreturn]] void fail(const std::string& key, const std::string& problem) const {
    metadata_.fail("metadata " + files::in_quotes(prefix_ + key) + ": " + problem);
  }

 private:
  metadata_reader& metadata_;
  std::string prefix_;
};

inline bool has_tensor(const file_header& file, std::string_view name) {
  return file.tensors.find(name) != file.tensors.end();
}

// The divisors of a file for Llama 3, as many as it has.
inline std::vector<double> rotary_divisors(const file_header& file) {
  const auto found = file.tensors.find("rope_freqs.weight");
  if (found == file.tensors.end()) {
    return {};
  }
  const tensor_info& tensor = found->second;
  std::vector<double> divisors(std::size_t(tensor.count()));
  read_rows(found->first, tensor, 0, view<double>(divisors.data(), tensor.cols(), tensor.rows()));
  return divisors;
}

inline void read_rotary(const file_header& file, decoder_keys& keys,
                        const std::string& architecture, nn::decoder_config& c) {
  nn::rotary_config& r = c.rotary;
  keys.expect("rope.dimension_count", c.head_size);
  r.theta = keys.decimal_or("rope.freq_base", 10000);
  const std::string scaling = keys.text_or("rope.scaling.type", "none");
  if (scaling == "linear") {
    r.scaling = nn::rotary_scaling::linear;
    r.factor = keys.decimal("rope.scaling.factor");
  } else if (scaling != "none") {
    keys.fail("rope.scaling.type",
              "none and linear are understood, not " + files::in_quotes(scaling));
  }
  if (architecture == "llama") {
    r.divisors = rotary_divisors(file);
  }
}

inline void read_llama_like(const file_header& file, decoder_keys& keys,
                            const std::string& architecture, nn::decoder_config& c) {
  c.key_value_heads = keys.whole_or("attention.head_count_kv", c.heads);
  c.head_size = keys.whole_or("attention.key_length", c.hidden_size / c.heads);
  keys.expect("attention.value_length", c.head_size);
  c.norm_epsilon = keys.decimal("attention.layer_norm_rms_epsilon");
  c.window = keys.whole_or("attention.sliding_window", 0);
  c.qk_norm = architecture == "qwen3";
  c.qkv_bias = has_tensor(file, "blk.0.attn_q.bias");
  c.output_bias = has_tensor(file, "blk.0.attn_output.bias");
  c.mlp_bias = has_tensor(file, "blk.0.ffn_up.bias");
  read_rotary(file, keys, architecture, c);
}

inline void read_gpt2(decoder_keys& keys, nn::decoder_config& c) {
  keys.expect("attention.head_count_kv", c.heads);
  c.key_value_heads = c.heads;
  c.head_size = c.hidden_size / c.heads;
  c.norm_epsilon = keys.decimal("attention.layer_norm_epsilon");
  c.norm = nn::norm_kind::layer;
  c.positions = nn::position_kind::learned;
  c.activation = nn::activation_kind::gelu_tanh;
  c.fused_qkv = c.qkv_bias = c.output_bias = c.mlp_bias = true;
  c.gated = false;
  c.names = nn::decoder_names::gpt2;
}

// What has no influence on the numbers, or must be as it always is.
inline void read_general(metadata_reader& metadata) {
  const auto type = metadata.get_or<std::string>("general.type", "model");
  if (type != "model") {
    metadata.fail("metadata \"general.type\": a \"model\" is needed, it is " +
                  files::in_quotes(type));
  }
  const auto quantization = metadata.get_or<index_t>("general.quantization_version", 2);
  if (quantization != 2) {
    metadata.fail("metadata \"general.quantization_version\": 2 is understood, not " +
                  std::to_string(quantization));
  }
  const auto parts = metadata.get_or<index_t>("split.count", 1);
  if (parts > 1) {
    metadata.fail("metadata \"split.count\": the file is one of " + std::to_string(parts) +
                  "; merge them first");
  }
  for (const char* const prefix : {"general.", "tokenizer.", "split.", "quantize.imatrix."}) {
    metadata.ignore(prefix);
  }
}

}  // namespace detail

// The file's general.architecture. Errors: io_error if it has none.
inline std::string architecture_of(const reader& file) {
  return file.read_metadata().get<std::string>("general.architecture");
}

// `source` names the file in errors.
inline nn::decoder_config read_decoder_config(const file_header& file, const std::string& source) {
  metadata_reader metadata(file.metadata, source);
  const auto architecture = metadata.get<std::string>("general.architecture");
  detail::decoder_keys keys(metadata, architecture);
  nn::decoder_config c;
  try {
    tensor_names(architecture);
    detail::read_general(metadata);
    const auto words = file.tensors.find("token_embd.weight");
    require(words != file.tensors.end(), "tensor \"token_embd.weight\": it is missing");
    c.vocab_size = words->second.rows();
    keys.expect("vocab_size", c.vocab_size);
    c.hidden_size = keys.whole("embedding_length");
    c.intermediate_size = keys.whole("feed_forward_length");
    c.blocks = keys.whole("block_count");
    c.heads = keys.whole("attention.head_count");
    c.max_positions = keys.whole("context_length");
    require(c.heads >= 1, "attention.head_count >= 1", c.heads, 1);
    if (architecture == "gpt2") {
      detail::read_gpt2(keys, c);
    } else {
      detail::read_llama_like(file, keys, architecture, c);
    }
    c.tied_head = !detail::has_tensor(file, "output.weight");
    nn::require_valid(c);
  } catch (const invalid_argument& error) {
    metadata.fail(error.what());
  }
  metadata.require_all_read();
  return c;
}
inline nn::decoder_config read_decoder_config(const reader& file) {
  return read_decoder_config(file.header(), file.source());
}

}  // namespace preheat::gguf
