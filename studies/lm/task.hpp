// What the language model can be taught: a word is the question, and what a dictionary has of it the answer.
#pragma once
#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "dictionary.hpp"

namespace studies::lm {

struct task {
  const char* name;     // on the command line
  const char* problem;  // in files: run_definition::shift
  const char* source;   // for readers
  const char* file;     // of its data, which must be there
  std::vector<definition> (*read)(const std::filesystem::path& folder);
};

inline constexpr std::array tasks = {
    task{"wordnet", "definitions", "WordNet's 3.0 glosses of English words", "wordnet",
         [](const std::filesystem::path& folder) { return read_definitions(folder / "wordnet"); }},
    task{"translation", "translation", "FreeDict's German translations of English words",
         "freedict-eng-deu.dict",
         [](const std::filesystem::path& folder) {
           return read_dictionary(folder / "freedict-eng-deu", first_translation);
         }},
    task{"gcide", "gcide", "the first senses of GCIDE, a dictionary of 1913 and later",
         "gcide.dict", [](const std::filesystem::path& folder) {
           return read_dictionary(folder / "gcide", first_sense);
         }}};

}  // namespace studies::lm
