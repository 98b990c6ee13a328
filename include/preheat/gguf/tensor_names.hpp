// What GGUF files and Hugging Face call the tensors of a decoder.
//
//   blk.7.attn_q.weight   <->   model.layers.7.self_attn.q_proj.weight   (llama, qwen2, qwen3)
//   blk.7.attn_qkv.bias   <->   transformer.h.7.attn.c_attn.bias         (gpt2)
//
// Errors: invalid_argument for an architecture without a table; unknown names give nothing. Cost:
// O(rows of the table).
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "../core/error.hpp"
#include "../files/strict_json.hpp"

namespace preheat::gguf {

// One row of a table: names without ".weight" or ".bias"; # stands for the number of the block.
struct name_pair {
  std::string_view gguf;
  std::string_view hugging_face;
};

namespace detail {

inline constexpr std::array<name_pair, 14> llama_names = {{
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"blk.#.attn_norm", "model.layers.#.input_layernorm"},
    {"blk.#.attn_q", "model.layers.#.self_attn.q_proj"},
    {"blk.#.attn_k", "model.layers.#.self_attn.k_proj"},
    {"blk.#.attn_v", "model.layers.#.self_attn.v_proj"},
    {"blk.#.attn_output", "model.layers.#.self_attn.o_proj"},
    {"blk.#.attn_q_norm", "model.layers.#.self_attn.q_norm"},
    {"blk.#.attn_k_norm", "model.layers.#.self_attn.k_norm"},
    {"blk.#.ffn_norm", "model.layers.#.post_attention_layernorm"},
    {"blk.#.ffn_gate", "model.layers.#.mlp.gate_proj"},
    {"blk.#.ffn_up", "model.layers.#.mlp.up_proj"},
    {"blk.#.ffn_down", "model.layers.#.mlp.down_proj"},
}};

inline constexpr std::array<name_pair, 10> gpt2_names = {{
    {"token_embd", "transformer.wte"},
    {"position_embd", "transformer.wpe"},
    {"output_norm", "transformer.ln_f"},
    {"output", "lm_head"},
    {"blk.#.attn_norm", "transformer.h.#.ln_1"},
    {"blk.#.attn_qkv", "transformer.h.#.attn.c_attn"},
    {"blk.#.attn_output", "transformer.h.#.attn.c_proj"},
    {"blk.#.ffn_norm", "transformer.h.#.ln_2"},
    {"blk.#.ffn_up", "transformer.h.#.mlp.c_fc"},
    {"blk.#.ffn_down", "transformer.h.#.mlp.c_proj"},
}};

// `name` as `to` says, if it is as `from` says; nothing otherwise.
inline std::optional<std::string> renamed(std::string_view name, std::string_view from,
                                          std::string_view to) {
  const std::size_t mark = from.find('#');
  if (mark == std::string_view::npos) {
    return name == from ? std::optional<std::string>(to) : std::nullopt;
  }
  const std::string_view before = from.substr(0, mark);
  const std::string_view behind = from.substr(mark + 1);
  if (!name.starts_with(before)) {
    return std::nullopt;
  }
  name.remove_prefix(before.size());
  const std::size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
  if (digits == 0 || name.substr(digits) != behind) {
    return std::nullopt;
  }
  std::string result(to);
  return result.replace(result.find('#'), 1, name.substr(0, digits));
}

}  // namespace detail

// The table of an architecture, the value of general.architecture.
inline std::span<const name_pair> tensor_names(std::string_view architecture) {
  if (architecture == "llama" || architecture == "qwen2" || architecture == "qwen3") {
    return detail::llama_names;
  }
  if (architecture == "gpt2") {
    return detail::gpt2_names;
  }
  throw invalid_argument("the architecture " + files::in_quotes(architecture) +
                         " is not known; llama, qwen2, qwen3 and gpt2 are");
}

namespace detail {

inline std::optional<std::string> other_name(std::string_view architecture, std::string_view name,
                                             std::string_view name_pair::*from,
                                             std::string_view name_pair::*to) {
  for (const std::string_view suffix : {".weight", ".bias"}) {
    if (!name.ends_with(suffix)) {
      continue;
    }
    for (const name_pair& pair : tensor_names(architecture)) {
      auto other = renamed(name.substr(0, name.size() - suffix.size()), pair.*from, pair.*to);
      if (other) {
        return *other + std::string(suffix);
      }
    }
  }
  return std::nullopt;
}

}  // namespace detail

// What Hugging Face calls the tensor that a GGUF file calls `name`.
inline std::optional<std::string> hugging_face_name(std::string_view architecture,
                                                    std::string_view name) {
  return detail::other_name(architecture, name, &name_pair::gguf, &name_pair::hugging_face);
}

// What a GGUF file calls the tensor that Hugging Face calls `name`.
inline std::optional<std::string> gguf_name(std::string_view architecture, std::string_view name) {
  return detail::other_name(architecture, name, &name_pair::hugging_face, &name_pair::gguf);
}

}  // namespace preheat::gguf
