// The tokenizer in the metadata of a GGUF file, if it is byte-level BPE (tokenizer.ggml.model "gpt2").
//
// Vocabulary and merges are written as in tokenizer.json. Tokens of the type "control" are special,
// those of the type "user defined" added without being special; both are written as they are. How a
// text is cut is a name. From it follows too what these models' tokenizer.json says and GGUF does not:
// Qwen 2 composes (NFC), Llama 3 takes a piece that is a token whole and begins a text with its first
// token unless add_bos says otherwise.
//
// Errors: io_error, naming the key.
#pragma once
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "../files/strict_json.hpp"
#include "byte_pair_model.hpp"

namespace preheat::text {

// The values of the keys tokenizer.ggml.…, as the file has them.
struct gguf_tokenizer {
  std::string model;                                       // .model
  std::string pre;                                         // .pre
  std::vector<std::string> tokens;                         // .tokens
  std::vector<std::string> merges;                         // .merges
  std::vector<index_t> token_types;                        // .token_type
  std::optional<index_t> bos, eos;                         // .bos_token_id, .eos_token_id
  std::optional<bool> add_bos, add_eos, add_space_prefix;  // .add_bos_token, …
};

namespace detail {

[[noreturn]] inline void fail_gguf_key(const char* key, const std::string& problem) {
  throw io_error(std::string("GGUF metadata: tokenizer.ggml.") + key + ": " + problem);
}

inline pre_tokenizer_rule gguf_rule(const std::string& name) {
  using rule = pre_tokenizer_rule;
  constexpr std::array<std::pair<const char*, rule>, 6> rules = {{{"gpt-2", rule::gpt2},
                                                                  {"smollm", rule::smollm},
                                                                  {"llama-bpe", rule::llama3},
                                                                  {"llama3", rule::llama3},
                                                                  {"llama-v3", rule::llama3},
                                                                  {"qwen2", rule::qwen2}}};
  std::string possible;
  for (const auto& [known, found] : rules) {
    if (name == known) {
      return found;
    }
    possible += (possible.empty() ? "" : ", ") + std::string(known);
  }
  fail_gguf_key("pre", possible + " are understood, not " + files::in_quotes(name));
}

// What a token's type means here.
enum class gguf_token { vocabulary, special, added };

inline gguf_token gguf_token_kind(index_t type, const std::string& token) {
  switch (type) {
    case 1:  // normal
    case 5:  // unused: an entry that nothing is merged into
      return gguf_token::vocabulary;
    case 3:  // control
      return gguf_token::special;
    case 4:  // user defined
      return gguf_token::added;
    default:
      fail_gguf_key("token_type", "1, 3, 4 and 5 are understood, not " + std::to_string(type) +
                                      " of the token " + files::in_quotes(token));
  }
}

// The one token that a flag adds around a text.
inline std::vector<index_t> gguf_frame(bool wanted, std::optional<index_t> id, const char* key,
                                       std::size_t tokens) {
  if (!wanted) {
    return {};
  }
  if (!id || *id < 0 || std::size_t(*id) >= tokens) {
    fail_gguf_key(key, "a token's number below " + std::to_string(tokens) + " is needed, not " +
                           (id ? std::to_string(*id) : "none"));
  }
  return {*id};
}

}  // namespace detail

inline byte_pair_model model_of(gguf_tokenizer given) {
  if (given.model != "gpt2") {
    detail::fail_gguf_key(
        "model", "\"gpt2\" (byte-level BPE) is understood, not " + files::in_quotes(given.model));
  }
  if (given.token_types.size() != given.tokens.size()) {
    detail::fail_gguf_key("token_type", "one for each of the " +
                                            std::to_string(given.tokens.size()) + " tokens, not " +
                                            std::to_string(given.token_types.size()));
  }
  if (given.add_space_prefix.value_or(false)) {
    detail::fail_gguf_key("add_space_prefix", "false is understood, not true");
  }
  byte_pair_model model;
  model.rule = detail::gguf_rule(given.pre);
  const bool llama3 = model.rule == pre_tokenizer_rule::llama3;
  model.ignore_merges = llama3;
  model.compose = model.rule == pre_tokenizer_rule::qwen2;
  for (std::size_t i = 0; i < given.tokens.size(); ++i) {
    if (given.tokens[i].empty()) {
      detail::fail_gguf_key("tokens", "token " + std::to_string(i) + " is empty");
    }
    const auto kind = detail::gguf_token_kind(given.token_types[i], given.tokens[i]);
    if (kind != detail::gguf_token::vocabulary) {
      model.added.push_back(
          {index_t(i), given.tokens[i], kind == detail::gguf_token::special, false});
    }
  }
  for (const std::string& merge : given.merges) {
    const std::size_t space = merge.find(' ');
    if (space == std::string::npos || merge.find(' ', space + 1) != std::string::npos) {
      detail::fail_gguf_key("merges", "a merge is \"a b\", not " + files::in_quotes(merge));
    }
    model.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  model.before = detail::gguf_frame(given.add_bos.value_or(llama3), given.bos, "bos_token_id",
                                    given.tokens.size());
  model.after = detail::gguf_frame(given.add_eos.value_or(false), given.eos, "eos_token_id",
                                   given.tokens.size());
  model.tokens = std::move(given.tokens);
  return model;
}

}  // namespace preheat::text
