// Plain English that nothing here trains on: quotations from literature, of fortune's file of that
// name. WordNet's own examples would not do: they are phrases rather than prose, and their words are
// the words that are trained.
//
// Texts are separated by lines "%". White space of any length becomes a space, and what follows "-- "
// (the author) is left out.
#pragma once
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace studies::lm {

// Throws std::runtime_error, naming the file, if it cannot be read or has no text.
inline std::vector<std::string> read_quotations(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) {
    throw std::runtime_error(path.string() + ": cannot be opened");
  }
  std::vector<std::string> all;
  std::string text;
  const auto finish = [&] {
    if (!text.empty()) {
      all.push_back(text);
    }
    text.clear();
  };
  bool author = false;
  for (std::string line; std::getline(file, line);) {
    if (line == "%") {
      finish();
      author = false;
      continue;
    }
    std::istringstream words(line);
    for (std::string word; words >> word;) {
      author = author || word == "--";
      if (!author) {
        text += (text.empty() ? "" : " ") + word;
      }
    }
  }
  finish();
  if (all.empty()) {
    throw std::runtime_error(path.string() + ": no texts separated by lines \"%\"");
  }
  return all;
}

}  // namespace studies::lm
