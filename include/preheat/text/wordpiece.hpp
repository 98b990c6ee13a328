// BERT's tokenizer: from a text to the numbers of its word pieces.
//
//   const text::wordpiece tokenizer = text::wordpiece::read("model/vocab.txt");
//   const text::encoded_text text = tokenizer.encode("It's a café.", 128);  // [CLS] it ' s … [SEP]
//   const text::padded_texts batch = tokenizer.pad(texts);                  // equally long
//
// A text is decoded from UTF-8; control characters, format characters, characters of private use
// and U+FFFD are dropped; white space becomes a space; a Chinese character is a word of its own.
// Then follow canonical decomposition (NFD), the removal of nonspacing marks (accents) and lower
// case, and every punctuation character becomes a word. A word is cut greedily into the longest
// pieces in the vocabulary, where a piece inside a word begins with ##; a word that cannot be cut,
// or is too long, becomes the unknown token. Special tokens in the text ("[SEP]") are kept as such.
//
// Bytes that are not UTF-8 are dropped one by one. This equals decoding with replacement, because
// the replacement character U+FFFD is dropped too.
//
// Errors: io_error for a vocabulary file that cannot be read; invalid_argument for a vocabulary
// with an empty or repeated token or without the special ones, and for a length too short for them.
// Cost: linear in the text, times the longest piece. Needs utf8proc (Debian: libutf8proc-dev), as
// does text/basic_tokenizer.hpp and no other header. Source: Devlin et al., arXiv 1810.04805.
// Agrees with the `tokenizers` library except for a few hundred characters that Unicode has
// classified since version 8, which that library does not have.
#pragma once
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "../files/text_file.hpp"
#include "basic_tokenizer.hpp"

namespace preheat::text {

struct wordpiece_options {
  bool lower_case = true;  // and removes accents
  std::string unknown = "[UNK]";
  std::string first = "[CLS]";
  std::string separator = "[SEP]";
  std::string padding = "[PAD]";
  std::string mask = "[MASK]";
  std::size_t longest_word = 100;  // in characters, after decomposition
};

// Types are 0 up to the first separator, 1 after it.
struct encoded_text {
  std::vector<index_t> ids;
  std::vector<index_t> types;

  index_t length() const { return index_t(ids.size()); }
};

// Several texts of one length, one per column: entry j·length + i is token i of text j.
struct padded_texts {
  index_t length = 0;
  std::vector<index_t> ids;
  std::vector<index_t> types;
  std::vector<index_t> lengths;  // without padding, one per text
};

class wordpiece {
 public:
  // The number of a token is its position in the vocabulary.
  explicit wordpiece(std::vector<std::string> vocabulary, wordpiece_options options = {})
      : options_(std::move(options)), tokens_(std::move(vocabulary)) {
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      const std::string line = "vocabulary: token " + std::to_string(i);
      require(!tokens_[i].empty(), line + " is not empty");
      require(ids_.emplace(tokens_[i], index_t(i)).second,
              line + " is new: " + tokens_[i] + " is there twice");
      longest_token_ = std::max(longest_token_, tokens_[i].size());
    }
    for (const std::string* token : {&options_.unknown, &options_.first, &options_.separator,
                                     &options_.padding, &options_.mask}) {
      const auto found = ids_.find(*token);
      require(found != ids_.end(), "vocabulary: it has the special token " + *token);
      special_.emplace(*token, found->second);
    }
  }

  // Reads a file with one token per line.
  static wordpiece read(const std::filesystem::path& path, wordpiece_options options = {}) {
    constexpr std::size_t longest_file = std::size_t(1) << 28;
    const std::string text = files::read_text_file(path, longest_file);
    std::vector<std::string> vocabulary;
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = std::min(text.find('\n', begin), text.size());
      const bool with_return = end > begin && text[end - 1] == '\r';
      vocabulary.push_back(text.substr(begin, end - begin - (with_return ? 1 : 0)));
      begin = end + 1;
    }
    try {
      return wordpiece(std::move(vocabulary), std::move(options));
    } catch (const invalid_argument& error) {
      throw io_error(path.string() + ": " + error.what());
    }
  }

  index_t size() const { return index_t(tokens_.size()); }
  const std::string& token(index_t id) const {
    require(0 <= id && id < size(), "wordpiece: 0 <= id < tokens", id, size());
    return tokens_[id];
  }
  index_t padding_id() const { return special_.at(options_.padding); }

  // The pieces of the words, without the tokens that enclose a text.
  std::vector<index_t> pieces(std::string_view text) const {
    std::vector<index_t> ids;
    while (!text.empty()) {
      const auto [place, token] = next_special(text);
      append_pieces(text.substr(0, place), ids);
      if (place == text.size()) {
        break;
      }
      ids.push_back(token->second);
      text.remove_prefix(place + token->first.size());
    }
    return ids;
  }

  // [CLS] text [SEP], at most max_length tokens; the text's end is cut. 0: no limit.
  encoded_text encode(std::string_view text, index_t max_length = 0) const {
    constexpr index_t frame = 2;
    std::vector<index_t> ids = pieces(text);
    if (room(max_length, frame) < index_t(ids.size())) {
      ids.resize(std::size_t(max_length - frame));
    }
    encoded_text all;
    append(all, special_.at(options_.first), 0);
    append_framed(all, ids, 0);
    return all;
  }

  // [CLS] a [SEP] b [SEP], at most max_length tokens. The longer text is cut until both are equally
  // long, then both are cut; an odd token goes to the longer text, or to b.
  encoded_text encode(std::string_view a, std::string_view b, index_t max_length = 0) const {
    constexpr index_t frame = 3;
    std::vector<index_t> ids_a = pieces(a);
    std::vector<index_t> ids_b = pieces(b);
    const index_t most = room(max_length, frame);
    if (index_t(ids_a.size() + ids_b.size()) > most) {
      cut_longest_first(ids_a, ids_b, std::size_t(most));
    }
    encoded_text all;
    append(all, special_.at(options_.first), 0);
    append_framed(all, ids_a, 0);
    append_framed(all, ids_b, 1);
    return all;
  }

  // Pads all texts to the length of the longest, or to `length`.
  padded_texts pad(std::span<const encoded_text> texts, index_t length = 0) const {
    padded_texts batch;
    for (const encoded_text& text : texts) {
      batch.length = std::max(batch.length, text.length());
    }
    if (length > 0) {
      require(batch.length <= length, "pad: longest text <= length", batch.length, length);
      batch.length = length;
    }
    const std::size_t entries = std::size_t(batch.length) * texts.size();
    batch.ids.assign(entries, padding_id());
    batch.types.assign(entries, 0);
    for (std::size_t j = 0; j < texts.size(); ++j) {
      const auto place = index_t(j) * batch.length;
      std::copy(texts[j].ids.begin(), texts[j].ids.end(), batch.ids.begin() + place);
      std::copy(texts[j].types.begin(), texts[j].types.end(), batch.types.begin() + place);
      batch.lengths.push_back(texts[j].length());
    }
    return batch;
  }

 private:
  using special_tokens = std::map<std::string, index_t, std::less<>>;

  // The position of the first special token in a text, and the token; otherwise the text's end.
  std::pair<std::size_t, special_tokens::const_iterator> next_special(std::string_view text) const {
    std::pair first{text.size(), special_.end()};
    for (auto token = special_.begin(); token != special_.end(); ++token) {
      const std::size_t place = text.find(token->first);
      if (place < first.first) {
        first = {place, token};
      }
    }
    return first;
  }

  void append_pieces(std::string_view text, std::vector<index_t>& ids) const {
    const std::string clean = detail::cleaned(text);
    std::vector<utf8proc_int32_t> word;
    const auto end_word = [&] {
      append_word(word, ids);
      word.clear();
    };
    for (const utf8proc_int32_t point :
         options_.lower_case ? detail::folded(clean) : detail::decoded(clean)) {
      if (detail::is_white_space(point)) {
        end_word();
      } else if (detail::is_punctuation(point)) {
        end_word();
        word.push_back(point);
        end_word();
      } else {
        word.push_back(point);
      }
    }
    end_word();
  }

  // Appends the longest piece that fits, then the longest of the rest, and so on.
  void append_word(std::span<const utf8proc_int32_t> word, std::vector<index_t>& ids) const {
    if (word.empty()) {
      return;
    }
    const index_t unknown = special_.at(options_.unknown);
    if (word.size() > options_.longest_word) {
      ids.push_back(unknown);
      return;
    }
    std::string text;
    std::vector<std::size_t> ends;  // in bytes, one per character
    for (const utf8proc_int32_t point : word) {
      detail::append_utf8(text, point);
      ends.push_back(text.size());
    }
    const std::size_t before = ids.size();
    for (std::size_t begin = 0; begin < text.size();) {
      const auto [id, end] = longest_piece(text, begin, ends);
      if (end == begin) {
        ids.resize(before);
        ids.push_back(unknown);
        return;
      }
      ids.push_back(id);
      begin = end;
    }
  }

  // The longest piece of a word from `begin` on, and its end, which is `begin` if there is none.
  std::pair<index_t, std::size_t> longest_piece(const std::string& word, std::size_t begin,
                                                std::span<const std::size_t> ends) const {
    for (std::size_t i = ends.size(); i > 0 && ends[i - 1] > begin; --i) {
      const std::size_t length = ends[i - 1] - begin;
      if (length <= longest_token_) {
        const auto found = ids_.find((begin > 0 ? "##" : "") + word.substr(begin, length));
        if (found != ids_.end()) {
          return {found->second, ends[i - 1]};
        }
      }
    }
    return {0, begin};
  }

  // The number of tokens that a text may have besides `frame` special ones.
  static index_t room(index_t max_length, index_t frame) {
    if (max_length == 0) {
      return std::numeric_limits<index_t>::max();
    }
    require(frame <= max_length, "encode: special tokens <= max_length", frame, max_length);
    return max_length - frame;
  }

  static void cut_longest_first(std::vector<index_t>& a, std::vector<index_t>& b,
                                std::size_t most) {
    std::vector<index_t>& shorter = a.size() > b.size() ? b : a;
    std::vector<index_t>& longer = a.size() > b.size() ? a : b;
    if (2 * shorter.size() > most) {
      shorter.resize(most / 2);
    }
    longer.resize(most - shorter.size());
  }

  static void append(encoded_text& all, index_t id, index_t type) {
    all.ids.push_back(id);
    all.types.push_back(type);
  }
  void append_framed(encoded_text& all, std::span<const index_t> ids, index_t type) const {
    for (const index_t id : ids) {
      append(all, id, type);
    }
    append(all, special_.at(options_.separator), type);
  }

  wordpiece_options options_;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, index_t> ids_;
  special_tokens special_;
  std::size_t longest_token_ = 0;
};

}  // namespace preheat::text
