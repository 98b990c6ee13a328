// rank_pattern and alpha_pattern of an adapter_config.json: values by regular expressions on the names
// of modules, which come from files that nobody vouches for.
#pragma once
#include <cstddef>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../files/strict_json.hpp"

namespace preheat::peft::detail {

// Expressions come from files that nobody vouches for, and std::regex trusts its pattern: repetitions in
// braces multiply its states, long numbers overflow, and backtracking can take forever. So the first two
// are refused, the length is limited, and libstdc++ is told to match in polynomial time, which it can
// for all but back references (these it then refuses).
inline std::regex module_expression(const std::string& key) {
  constexpr std::size_t longest = 1000;
  constexpr std::size_t most_digits = 9;
  std::size_t digits = 0;
  bool harmless = key.size() <= longest;
  for (const char c : key) {
    digits = '0' <= c && c <= '9' ? digits + 1 : 0;
    harmless = harmless && c != '{' && digits <= most_digits;
  }
  if (!harmless) {
    throw std::regex_error(std::regex_constants::error_complexity);
  }
  std::regex::flag_type syntax = std::regex::ECMAScript;
#if defined(__GLIBCXX__)
  syntax |= std::regex_constants::__polynomial;
#endif
  return std::regex("(.*\\.)?(" + key + ")$", syntax);
}

// The keys of a pattern in the order of the file, each compiled as PEFT reads it.
template <class Value>
class module_pattern {
 public:
  void add(const std::string& key, Value value, const std::string& source) {
    try {
      entries_.push_back({module_expression(key), value});
    } catch (const std::regex_error&) {
      throw io_error(source + ": the pattern " + files::in_quotes(key) +
                     " is not a regular expression of at most 1000 characters, without {}");
    }
  }
  Value operator()(const std::string& module, Value otherwise) const {
    for (const auto& [expression, value] : entries_) {
      if (std::regex_match(module, expression)) {
        return value;
      }
    }
    return otherwise;
  }

 private:
  std::vector<std::pair<std::regex, Value>> entries_;
};

}  // namespace preheat::peft::detail
