// Words and their definitions, from the files of WordNet 3.0.
//
//   const std::vector<definition> all = studies::lm::read_definitions("build/lm/wordnet");
//
// A line of data.noun is a synset: its number, its words, its relations, and after " | " a gloss,
// which is a definition and perhaps examples in quotation marks. index.noun has a line a word with the
// numbers of its synsets, the most frequent sense first. (wndb(5WN) describes both.)
//
// A synset is defined once, by the first of its words of which it is the first sense and that no
// synset before it has taken; nouns come first, then verbs, adjectives, adverbs. So every word and every
// synset is there at most once, and parts of the list have no word in common, upper and lower case
// being one.
#pragma once
#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace studies::lm {

struct definition {
  std::string word;  // or several: "physical entity"
  std::string gloss;
};

namespace detail {

inline std::string in_lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return char(std::tolower(c)); });
  return text;
}

// Calls use(line, fail) for every line of a file but its licence; fail(problem) throws.
template <class Use>
void for_each_line(const std::filesystem::path& path, const Use& use) {
  std::ifstream file(path);
  if (!file) {
    throw std::runtime_error(path.string() + ": cannot be opened");
  }
  std::size_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (!line.starts_with("  ")) {
      use(line, [&](const std::string& problem) {
        throw std::runtime_error(path.string() + ": line " + std::to_string(number) + ": " +
                                 problem);
      });
    }
  }
}

// The number of the first sense of every word, which is in lower case with _ for spaces.
inline std::unordered_map<std::string, std::string> read_first_senses(
    const std::filesystem::path& path) {
  std::unordered_map<std::string, std::string> first;
  for_each_line(path, [&](const std::string& line, const auto& fail) {
    std::istringstream fields(line);
    std::string word, part, skipped, number;
    std::size_t senses = 0;
    std::size_t pointers = 0;
    fields >> word >> part >> senses >> pointers;
    for (std::size_t i = 0; fields && i < pointers + 2; ++i) {
      fields >> skipped;  // kinds of pointers, and two counts of senses
    }
    if (!(fields >> number)) {
      fail("a word, its counts and the numbers of its synsets expected");
    }
    first[word] = number;
  });
  return first;
}

// "beautiful(a)" -> "beautiful"
inline std::string without_marker(const std::string& word) {
  return word.ends_with(')') ? word.substr(0, word.rfind('(')) : word;
}

// What stands before the examples.
inline std::string definition_in(std::string_view gloss) {
  gloss = gloss.substr(0, gloss.find("; \""));
  while (!gloss.empty() && (gloss.back() == ' ' || gloss.back() == ';')) {
    gloss.remove_suffix(1);
  }
  gloss.remove_prefix(std::min(gloss.find_first_not_of(' '), gloss.size()));
  return gloss.starts_with('"') ? std::string() : std::string(gloss);
}

}  // namespace detail

// In the order of the files. Throws std::runtime_error naming the file, the line and what is wrong.
inline std::vector<definition> read_definitions(const std::filesystem::path& folder) {
  constexpr std::array parts = {"noun", "verb", "adj", "adv"};
  std::vector<definition> all;
  std::unordered_set<std::string> taken;
  for (const std::string part : parts) {
    const auto first = detail::read_first_senses(folder / ("index." + part));
    detail::for_each_line(
        folder / ("data." + part), [&](const std::string& line, const auto& fail) {
          const std::size_t bar = line.find(" | ");
          std::istringstream fields(line);
          std::string number, file, type, word, skipped;
          std::size_t words = 0;
          fields >> number >> file >> type >> std::hex >> words;
          if (!fields || bar == std::string::npos) {
            fail("a synset expected: its number, file, type, words and \" | \" with a gloss");
          }
          const std::string gloss = detail::definition_in(std::string_view(line).substr(bar + 3));
          for (std::size_t i = 0; i < words && !gloss.empty(); ++i) {
            if (!(fields >> word >> skipped)) {
              fail("fewer words than it says");
            }
            word = detail::without_marker(word);
            const std::string small = detail::in_lower_case(word);
            const auto sense = first.find(small);
            if (sense != first.end() && sense->second == number && taken.insert(small).second) {
              std::replace(word.begin(), word.end(), '_', ' ');
              all.push_back({word, gloss});
              break;
            }
          }
        });
  }
  if (all.empty()) {
    throw std::runtime_error(folder.string() + ": no definitions in WordNet's files");
  }
  return all;
}

}  // namespace studies::lm
