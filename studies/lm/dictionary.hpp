// Dictionaries of dictd: an index of words, and one file of articles.
//
//   const std::vector<definition> pairs =
//       read_dictionary("build/lm/freedict-eng-deu", first_translation);
//
// A line of NAME.index is a word, the place of its article in NAME.dict, and its length, with tabs between
// and the numbers in the 64 digits A–Z a–z 0–9 + / (dictd(8)). The .dict.dz of a package is unpacked by
// gzip. A word is taken once, upper and lower case being one, and so is what an article says of it, so
// that parts of the list share neither.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "wordnet.hpp"

namespace studies::lm {

namespace detail {

// "BS" -> 82. Nothing for another digit, no digit, or a number of more than 60 bits.
inline std::optional<std::uint64_t> from_dictd_digits(std::string_view text) {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.empty() || text.size() > 10) {
    return {};
  }
  std::uint64_t number = 0;
  for (const char c : text) {
    const std::size_t digit = digits.find(c);
    if (digit == std::string_view::npos) {
      return {};
    }
    number = number * 64 + digit;
  }
  return number;
}

// Without what stands between these two characters, which may be nested, and themselves.
inline std::string without_groups(std::string_view text, char open, char close) {
  std::string kept;
  int depth = 0;
  for (const char c : text) {
    depth += c == open;
    if (depth == 0) {
      kept += c;
    }
    depth -= c == close && depth > 0;
  }
  return kept;
}

// One space between words, none at the ends or before a comma or a semicolon.
inline std::string squeezed(const std::string& text) {
  std::istringstream words(text);
  std::string all;
  for (std::string word; words >> word;) {
    const bool mark = word[0] == ',' || word[0] == ';';
    all += (all.empty() || mark ? "" : " ") + word;
  }
  return all;
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) {
    lines.push_back(line);
  }
  return lines;
}

}  // namespace detail

// The first translation that an article of FreeDict has: "minute /mˈɪnɪt/ <n>⏎Minute <fem>, Weile" gives
// "minute" and "Minute". Grammar in <>, fields in [] and references in {} are left out. Without a gloss if
// there is none.
inline definition first_translation(const std::string& article) {
  const std::vector<std::string> lines = detail::lines_of(article);
  for (std::size_t i = 1; i < lines.size(); ++i) {
    if (lines[i].find(':') != std::string::npos || lines[i].find('"') != std::string::npos) {
      break;  // notes, synonyms and examples, which follow the translations
    }
    std::string text = detail::without_groups(lines[i], '<', '>');
    text = detail::without_groups(detail::without_groups(text, '[', ']'), '{', '}');
    text = detail::squeezed(detail::without_groups(text, '(', ')'));
    text.resize(std::min(text.size(), text.find_first_of(",;")));
    if (!text.empty()) {
      return {detail::squeezed(lines[0].substr(0, lines[0].find_first_of("/<"))), text};
    }
  }
  return {};
}

// The first sense in an article of GCIDE, without etymology, sources and numbers. Without a gloss if there
// is none.
inline definition first_sense(const std::string& article) {
  std::string sense;
  const std::vector<std::string> lines =
      detail::lines_of(detail::without_groups(article, '[', ']'));
  if (lines.empty()) {
    return {};
  }
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const std::string line = detail::squeezed(lines[i]);
    const bool next_sense =
        line.starts_with("2. ") || line.starts_with("Note:") || line.starts_with("Syn:");
    if ((line.empty() || next_sense) && !sense.empty()) {
      break;
    }
    sense += (sense.empty() ? "" : " ") + line;
  }
  if (sense.starts_with("1. ")) {
    sense.erase(0, 3);
  }
  if (sense.starts_with('(')) {  // a field of knowledge
    sense.erase(0, std::min(sense.size(), sense.find(')') + 1));
  }
  sense.resize(std::min(sense.size(), sense.find("--")));  // who said so, or another part of speech
  std::erase_if(sense, [](char c) { return c == '{' || c == '}'; });
  sense = detail::squeezed(sense);
  const bool refers =
      sense.starts_with("See ") || sense.starts_with("Syn") || sense.starts_with("Same as");
  return {detail::squeezed(lines[0].substr(0, lines[0].find('\\'))), refers ? "" : sense};
}

// In the order of the index; definition_of(article) is a word and what is to be learned of it, or one of
// them is empty. Throws std::runtime_error naming the file, the line and what is wrong.
inline std::vector<definition> read_dictionary(const std::filesystem::path& name,
                                               definition (*definition_of)(const std::string&)) {
  const std::string index = name.string() + ".index", articles = name.string() + ".dict";
  std::ifstream file(articles, std::ios::binary);
  if (!file) {
    throw std::runtime_error(articles + ": cannot be opened");
  }
  const std::string all{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::vector<definition> found;
  std::unordered_set<std::string> words, texts;
  detail::for_each_line(index, [&](const std::string& line, const auto& fail) {
    std::istringstream fields(line);
    std::string word, place, length;
    if (!std::getline(fields, word, '\t') || !std::getline(fields, place, '\t') ||
        !std::getline(fields, length, '\t')) {
      fail("a word, a place and a length expected, with tabs between");
    }
    const auto from = detail::from_dictd_digits(place), size = detail::from_dictd_digits(length);
    if (!from || !size || *from > all.size() || *size > all.size() - *from) {
      fail("the article at '" + place + "' of length '" + length + "' is not in " + articles);
    }
    if (word.starts_with("00-database") || word.starts_with("00database")) {
      return;  // what the dictionary says of itself
    }
    definition d = definition_of(all.substr(std::size_t(*from), std::size_t(*size)));
    if (!d.word.empty() && !d.gloss.empty() && !words.contains(detail::in_lower_case(d.word)) &&
        texts.insert(detail::in_lower_case(d.gloss)).second) {
      words.insert(detail::in_lower_case(d.word));
      found.push_back(std::move(d));
    }
  });
  if (found.empty()) {
    throw std::runtime_error(index + ": no words with a text");
  }
  return found;
}

}  // namespace studies::lm
