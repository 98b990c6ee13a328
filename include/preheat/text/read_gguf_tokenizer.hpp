// The tokenizer of a GGUF file, from its metadata.
//
//   const gguf::reader file("SmolLM2-135M-Instruct.Q4_1.gguf");
//   const text::gguf_tokenizer described = text::read_gguf_tokenizer(file);
//   const text::byte_pair_encoding tokenizer(model_of(described));
//
// Of the keys tokenizer.…, those that say nothing about the tokens of a text are passed over by their
// names: the tokens for unknown text, padding and the ends of turns, and templates of chats. Any other
// key is refused.
//
// Errors: io_error, naming the file and the key.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "../files/strict_json.hpp"
#include "../gguf/reader.hpp"
#include "gguf_tokenizer.hpp"

namespace preheat::text {

inline gguf_tokenizer read_gguf_tokenizer(const gguf::reader& file) {
  gguf::metadata_reader metadata = file.read_metadata();
  const std::string ggml = "tokenizer.ggml.";
  gguf_tokenizer t;
  t.model = metadata.get<std::string>(ggml + "model");
  t.pre = metadata.get<std::string>(ggml + "pre");
  t.tokens = metadata.get<std::vector<std::string>>(ggml + "tokens");
  t.merges = metadata.get<std::vector<std::string>>(ggml + "merges");
  t.token_types = metadata.get<std::vector<index_t>>(ggml + "token_type");
  t.bos = metadata.find<index_t>(ggml + "bos_token_id");
  t.eos = metadata.find<index_t>(ggml + "eos_token_id");
  t.add_bos = metadata.find<bool>(ggml + "add_bos_token");
  t.add_eos = metadata.find<bool>(ggml + "add_eos_token");
  t.add_space_prefix = metadata.find<bool>(ggml + "add_space_prefix");

  constexpr std::array<std::string_view, 15> known = {
      "ggml.model", "ggml.pre", "ggml.tokens", "ggml.merges", "ggml.token_type",
      "ggml.bos_token_id", "ggml.eos_token_id", "ggml.add_bos_token", "ggml.add_eos_token",
      "ggml.add_space_prefix",
      // passed over
      "ggml.unknown_token_id", "ggml.padding_token_id", "ggml.eot_token_id", "ggml.eom_token_id",
      "chat_template"};
  constexpr std::string_view prefix = "tokenizer.";
  for (const auto& entry : file.metadata()) {
    const std::string_view key = entry.first;
    if (key.starts_with(prefix) && !key.starts_with("tokenizer.chat_template.") &&
        key != "tokenizer.chat_templates" &&
        std::find(known.begin(), known.end(), key.substr(prefix.size())) == known.end()) {
      throw io_error(file.source() + ": metadata " + files::in_quotes(key) +
                     ": this key of a tokenizer is unknown");
    }
  }
  return t;
}

}  // namespace preheat::text
