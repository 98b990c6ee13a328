// The data: sentences that people have rated for sentiment, and how they are split.
//
//   const auto rated = studies::text::read_sentences("tweets_GroundTruth.txt");
//   const auto clear = studies::text::with_clear_sign(rated);
//   const common::split parts = studies::text::split_by_source(clear, 500, 1000);
//
// A line of a file is an id, the mean rating of about twenty people from -4 to 4, and the text,
// separated by tabs (Hutto and Gilbert, ICWSM 2014). The task is the sign of the rating, where it is
// clear: |rating| >= 0.5.
#pragma once
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <preheat/core/random.hpp>

#include "studies/common/split.hpp"

namespace studies::text {

struct sentence {
  std::string id;
  double rating = 0;
  std::string text;

  int label() const { return rating > 0 ? 1 : 0; }
};

inline constexpr double largest_rating = 4;
inline constexpr double clear_rating = 0.5;
inline constexpr int classes = 2;

// Throws std::runtime_error naming the file, the line and what is wrong with it.
inline std::vector<sentence> read_sentences(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) {
    throw std::runtime_error(path.string() + ": cannot be opened");
  }
  std::vector<sentence> all;
  std::set<std::string> ids;
  std::string line;
  while (std::getline(file, line)) {
    const auto wrong = [&](const std::string& problem) {
      return std::runtime_error(path.string() + ": line " + std::to_string(all.size() + 1) + ": " +
                                problem);
    };
    if (line.ends_with('\r')) {
      line.pop_back();
    }
    const std::size_t first = line.find('\t');
    const std::size_t second = first == std::string::npos ? first : line.find('\t', first + 1);
    if (second == std::string::npos || line.find('\t', second + 1) != std::string::npos) {
      throw wrong("three fields separated by tabs expected: id, rating, text");
    }
    sentence s;
    s.id = line.substr(0, first);
    s.text = line.substr(second + 1);
    const char* const begin = line.data() + first + 1;
    const char* const end = line.data() + second;
    const auto [after, error] = std::from_chars(begin, end, s.rating);
    if (error != std::errc() || after != end || !(std::abs(s.rating) <= largest_rating)) {
      throw wrong("a rating from -4 to 4 expected (" + std::string(begin, end) + ")");
    }
    if (s.id.empty() || s.text.empty()) {
      throw wrong(s.id.empty() ? "the id is empty" : "the text is empty");
    }
    if (!ids.insert(s.id).second) {
      throw wrong("the id " + s.id + " is there twice");
    }
    all.push_back(std::move(s));
  }
  if (all.empty()) {
    throw std::runtime_error(path.string() + ": the file is empty");
  }
  return all;
}

inline std::vector<sentence> with_clear_sign(std::vector<sentence> all) {
  std::erase_if(all, [](const sentence& s) { return std::abs(s.rating) < clear_rating; });
  return all;
}

// A number that changes when the data do: 64-bit FNV-1a over ids, labels and texts.
inline std::uint64_t checksum(std::span<const sentence> all) {
  std::uint64_t hash = 14695981039346656037u;
  const auto mix = [&](std::string_view text) {
    for (const char c : text) {
      hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
    }
    hash = (hash ^ 0xFFu) * 1099511628211u;
  };
  for (const sentence& s : all) {
    mix(s.id);
    mix(s.label() == 1 ? "1" : "0");
    mix(s.text);
  }
  return hash;
}

// ------------------------------------------------------------------------------------- splitting

// Where a sentence is from, as far as its id says: what stands before the first underscore. The ids
// of amazon name a customer's review (309 of them, on 5 products); those of movie and tweets are
// plain numbers, so that every sentence is a source of its own.
inline std::string_view source_of(const sentence& s) {
  return std::string_view(s.id).substr(0, s.id.find('_'));
}

inline constexpr std::uint64_t split_seed = 2024;

// Three parts of about these sizes, training getting the rest; all sentences of one source are in
// the same part, and the classes are in proportion in each. Sources of either majority, in random
// order, are spread evenly over one long order of sentences, which is cut at two places; a source
// goes where its middle is. Deterministic. Throws std::invalid_argument unless
// validation + test < sentences.
inline common::split split_by_source(std::span<const sentence> all, std::size_t validation,
                                     std::size_t test, std::uint64_t seed = split_seed) {
  if (validation + test >= all.size()) {
    throw std::invalid_argument("validation + test < sentences (" +
                                std::to_string(validation + test) + ", " +
                                std::to_string(all.size()) + ")");
  }
  struct source {
    std::vector<std::size_t> members;
    std::size_t positive = 0;
    double place = 0;  // of its middle, in its class: from 0 to 1
  };
  std::vector<source> sources;  // in the order of the file
  std::map<std::string_view, std::size_t> numbers;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto [entry, is_new] = numbers.emplace(source_of(all[i]), sources.size());
    if (is_new) {
      sources.emplace_back();
    }
    source& s = sources[entry->second];
    s.members.push_back(i);
    s.positive += std::size_t(all[i].label());
  }

  const preheat::generator gen(seed);
  for (const bool mostly_positive : {false, true}) {
    std::vector<source*> chosen;
    double sentences = 0;
    for (source& s : sources) {
      if ((2 * s.positive > s.members.size()) == mostly_positive) {
        chosen.push_back(&s);
        sentences += double(s.members.size());
      }
    }
    preheat::random_shuffle(chosen, gen.fork(preheat::purpose::split, mostly_positive ? 1 : 0));
    double before = 0;
    for (source* const s : chosen) {
      s->place = (before + 0.5 * double(s->members.size())) / sentences;
      before += double(s->members.size());
    }
  }
  std::stable_sort(sources.begin(), sources.end(),
                   [](const source& a, const source& b) { return a.place < b.place; });

  const double train = double(all.size() - validation - test);
  common::split parts;
  double before = 0;
  for (const source& s : sources) {
    const double middle = before + 0.5 * double(s.members.size());
    std::vector<std::size_t>& part = middle < train                        ? parts.train
                                     : middle < train + double(validation) ? parts.validation
                                                                           : parts.test;
    part.insert(part.end(), s.members.begin(), s.members.end());
    before += double(s.members.size());
  }
  return parts;
}

// ------------------------------------------------------------------------------------------ sets

struct set_description {
  std::string name;   // on the command line and in files
  std::string title;  // for readers
  std::string file;
};

inline const std::array<set_description, 3> all_sets = {{
    {"tweets", "tweets", "tweets_GroundTruth.txt"},
    {"movie", "movie reviews", "movieReviewSnippets_GroundTruth.txt"},
    {"amazon", "product reviews", "amazonReviewSnippets_GroundTruth.txt"},
}};

}  // namespace studies::text
