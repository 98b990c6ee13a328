// Byte-level BPE, the tokenizer of GPT-2, Llama 3, Qwen 2 and SmolLM2: from a text to the numbers of
// its tokens, and back.
//
//   const text::byte_pair_encoding tokenizer(text::read_tokenizer_json("model/tokenizer.json"));
//   const std::vector<index_t> ids = tokenizer.encode("Hello world");
//   const std::string text = tokenizer.decode(ids);
//
// A text is cut at the tokens that it may contain as they are (<|im_end|>), brought into NFC if the
// model asks for it, and cut into pieces (pre_tokenizer.hpp). The bytes of a piece are tokens, and the
// model's merges are done in their order, each wherever its pair stands, until none is left. Bytes
// that are not UTF-8 become U+FFFD first. A byte for which the vocabulary has no token is left out, as
// `tokenizers` does (SmolLM2 has 235 of the 256).
//
// Errors: invalid_argument, naming the token or merge, for a model with a repeated token or merge, a
// merge of strings that are no tokens, and numbers that are out of range; for a text of 2 GiB or more;
// for a number that is no token's.
// Cost: linear in the text, and n log n in the bytes of a piece. Threads may share one object: it
// keeps no cache. Needs PCRE2 and utf8proc (Debian: libpcre2-dev libutf8proc-dev).
// Source: Radford et al. 2019 (GPT-2). Agrees with the `tokenizers` library.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "byte_letters.hpp"
#include "byte_pair_model.hpp"
#include "merge_table.hpp"
#include "nfc.hpp"
#include "pre_tokenizer.hpp"
#include "string_table.hpp"
#include "token_finder.hpp"
#include "utf8.hpp"

namespace preheat::text {

enum class special_tokens { keep, skip };

class byte_pair_encoding {
 public:
  explicit byte_pair_encoding(byte_pair_model model)
      : tokens_(std::move(model.tokens)),
        pre_tokenizer_(model.rule),
        compose_(model.compose),
        ignore_merges_(model.ignore_merges),
        before_(std::move(model.before)),
        after_(std::move(model.after)) {
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      add_vocabulary_token(i);
    }
    for (int byte = 0; byte < detail::byte_count; ++byte) {
      const auto found = ids_.find(letter_of_byte(static_cast<unsigned char>(byte)));
      byte_tokens_[std::size_t(byte)] = found == ids_.end() ? none : found->second;
    }
    for (std::size_t i = 0; i < model.merges.size(); ++i) {
      add_merge(i, model.merges[i]);
    }
    for (const added_token& token : model.added) {
      add_added_token(token, 2 * (tokens_.size() + model.added.size()));
    }
    for (const std::vector<index_t>* frame : {&before_, &after_}) {
      for (const index_t id : *frame) {
        token(id);  // throws for a number that is no token's
      }
    }
  }

  // One more than the largest number of a token.
  index_t size() const { return index_t(tokens_.size()); }

  // A token as the vocabulary writes it: in the letters of its bytes, "Ġthe".
  const std::string& token(index_t id) const {
    require(0 <= id && id < size(), "tokenizer: 0 <= id < tokens", id, size());
    const std::string& text = tokens_[std::size_t(id)];
    if (text.empty()) {
      throw invalid_argument("tokenizer: no token has the number " + std::to_string(id));
    }
    return text;
  }
  // The bytes of a token; those of one token need not be UTF-8.
  const std::string& bytes(index_t id) const {
    token(id);
    return bytes_[std::size_t(id)];
  }
  bool is_special(index_t id) const {
    token(id);
    return special_[std::size_t(id)];
  }
  // The number of a token, written as in the vocabulary.
  std::optional<index_t> find(std::string_view token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? std::nullopt : std::optional<index_t>(found->second);
  }

  // The tokens of a text and no others.
  std::vector<index_t> pieces(std::string_view text) const {
    require(text.size() < std::size_t(std::numeric_limits<detail::token_id>::max()),
            "tokenizer: bytes of a text < 2^31 - 1", text.size(),
            std::numeric_limits<detail::token_id>::max());
    std::string repaired;
    if (!is_utf8(text)) {
      repaired = to_utf8(text);
      text = repaired;
    }
    std::vector<index_t> ids;
    workspace work;
    const auto take = [&](index_t id) { ids.push_back(id); };
    found_before_normalization_.cut(text, take, [&](std::string_view part) {
      const std::string normal = compose_ ? detail::composed(part) : std::string();
      found_after_normalization_.cut(
          compose_ ? std::string_view(normal) : part, take, [&](std::string_view rest) {
            pre_tokenizer_.for_each_piece(
                rest, [&](std::string_view piece) { append_piece(piece, work, ids); });
          });
    });
    return ids;
  }

  // The tokens that the model puts around a text (a beginning of text, say), and the text's.
  std::vector<index_t> encode(std::string_view text) const {
    std::vector<index_t> ids = before_;
    const std::vector<index_t> inner = pieces(text);
    ids.insert(ids.end(), inner.begin(), inner.end());
    ids.insert(ids.end(), after_.begin(), after_.end());
    return ids;
  }

  // The text of the tokens' bytes in a row, with U+FFFD for what is not UTF-8.
  std::string decode(std::span<const index_t> ids,
                     special_tokens special = special_tokens::keep) const {
    std::string text;
    for (const index_t id : ids) {
      const std::string& more = bytes(id);
      if (special == special_tokens::keep || !special_[std::size_t(id)]) {
        text += more;
      }
    }
    return to_utf8(text);
  }

 private:
  static constexpr detail::token_id none = -1;
  struct workspace {
    std::vector<detail::token_id> tokens;
    detail::merge_table::workspace merging;
  };

  // A token whose characters are letters of bytes stands for these; another one for itself.
  void store_bytes(std::size_t id) {
    bytes_[id] = bytes_of_letters(tokens_[id]).value_or(tokens_[id]);
  }

  void add_vocabulary_token(std::size_t id) {
    bytes_.emplace_back();
    special_.push_back(false);
    if (tokens_[id].empty()) {
      return;
    }
    if (!ids_.emplace(tokens_[id], detail::token_id(id)).second) {
      throw invalid_argument("tokenizer: token " + std::to_string(id) + " is new: " + tokens_[id] +
                             " is there twice");
    }
    store_bytes(id);
    if (ignore_merges_ && bytes_of_letters(tokens_[id])) {
      whole_pieces_.emplace(bytes_[id], detail::token_id(id));
    }
  }

  void add_merge(std::size_t i, const std::pair<std::string, std::string>& merge) {
    const auto number = [&](const std::string& token) {
      const auto found = ids_.find(token);
      if (found == ids_.end()) {
        throw invalid_argument("tokenizer: merge " + std::to_string(i) + " of " + merge.first +
                               " and " + merge.second + ": " + token + " is a token");
      }
      return found->second;
    };
    const detail::token_id result = number(merge.first + merge.second);
    if (!merges_.add(number(merge.first), number(merge.second), result)) {
      throw invalid_argument("tokenizer: merge " + std::to_string(i) + " is new: " + merge.first +
                             " and " + merge.second + " are merged twice");
    }
  }

  // Numbers beyond `most` would be mostly holes.
  void add_added_token(const added_token& token, std::size_t most) {
    const std::string name = "tokenizer: added token " + token.text;
    require(!token.text.empty(), name + std::to_string(token.id) + " is not empty");
    require(0 <= token.id && std::size_t(token.id) < most,
            name + ": 0 <= id < twice the number of tokens", token.id, most);
    const auto id = std::size_t(token.id);
    if (id >= tokens_.size()) {
      tokens_.resize(id + 1);
      bytes_.resize(id + 1);
      special_.resize(id + 1);
    }
    const auto [known, is_new] = ids_.emplace(token.text, detail::token_id(id));
    require(std::size_t(known->second) == id, name + ": its number is the vocabulary's", token.id,
            known->second);
    require(!is_new || tokens_[id].empty(),
            name + ": no other token has its number " + std::to_string(id));
    tokens_[id] = token.text;
    store_bytes(id);
    special_[id] = special_[id] || token.special;
    if (token.normalized) {
      found_after_normalization_.add(compose_ ? detail::composed(to_utf8(token.text)) : token.text,
                                     token.id);
    } else {
      found_before_normalization_.add(token.text, token.id);
    }
  }

  void append_piece(std::string_view piece, workspace& work, std::vector<index_t>& ids) const {
    if (ignore_merges_) {
      const auto whole = whole_pieces_.find(piece);
      if (whole != whole_pieces_.end()) {
        ids.push_back(whole->second);
        return;
      }
    }
    work.tokens.clear();
    for (const char byte : piece) {
      const detail::token_id token = byte_tokens_[static_cast<unsigned char>(byte)];
      if (token != none) {
        work.tokens.push_back(token);
      }
    }
    merges_.apply(work.tokens, work.merging);
    ids.insert(ids.end(), work.tokens.begin(), work.tokens.end());
  }

  std::vector<std::string> tokens_;
  std::vector<std::string> bytes_;
  std::vector<bool> special_;
  pre_tokenizer pre_tokenizer_;
  bool compose_;
  bool ignore_merges_;
  std::vector<index_t> before_, after_;
  detail::string_table<detail::token_id> ids_;           // by their letters
  detail::string_table<detail::token_id> whole_pieces_;  // by their bytes
  std::array<detail::token_id, detail::byte_count> byte_tokens_{};
  detail::merge_table merges_;
  detail::token_finder found_before_normalization_, found_after_normalization_;
};

}  // namespace preheat::text
