// A few regular expressions that match just the given names of modules: keys of rank_pattern. PEFT compares
// every module with every key, and compiles keys anew when there are more than 512, so thousands of
// modules with a key each would take it hours; with an expression for some hundred modules, seconds.
//
//   layers.0.experts.1.up, layers.0.experts.7.up   ->   ^layers\.0\.experts\.(?:1|7)\.up
//
// Cost: O(total length of the names·log of their number).
#pragma once
#include <algorithm>
#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "name_expression.hpp"

namespace preheat::peft::detail {

// The characters as a regular expression that matches them.
inline std::string as_expression(std::string_view text) {
  std::string written;
  for (const char c : text) {
    if (std::string_view(R"(\^$.|?*+()[]{})").find(c) != std::string_view::npos) {
      written += '\\';
    }
    written += c;
  }
  return written;
}

inline std::string alternatives(const std::vector<std::string>& all) {
  if (all.size() == 1) {
    return all.front();
  }
  std::string text = "(?:";
  for (const std::string& one : all) {
    text += (text.size() == 3 ? "" : "|") + one;
  }
  return text + ")";
}

using name_parts = std::vector<std::string_view>;

// What matches the parts from `depth` on of sorted names that agree before; they end in it or go on.
inline std::string expression_of(std::span<const name_parts> names, std::size_t depth) {
  std::vector<std::string> rests;                         // in the order of their first part
  std::map<std::string, std::vector<std::string>> parts;  // by what follows them
  for (std::size_t begin = 0; begin < names.size();) {
    const std::string_view part = names[begin][depth];
    std::size_t end = begin;
    while (end < names.size() && names[end][depth] == part) {
      ++end;
    }
    const bool ends = names[begin].size() == depth + 1;
    const std::span<const name_parts> longer =
        names.subspan(begin + (ends ? 1 : 0), end - begin - (ends ? 1 : 0));
    std::string rest;
    if (!longer.empty()) {
      rest = "\\." + expression_of(longer, depth + 1);
      rest = ends ? "(?:" + rest + ")?" : rest;
    }
    std::vector<std::string>& before = parts[rest];
    if (before.empty()) {
      rests.push_back(rest);
    }
    before.push_back(as_expression(part));
    begin = end;
  }
  std::vector<std::string> all;
  for (const std::string& rest : rests) {
    all.push_back(alternatives(parts[rest]) + rest);
  }
  return alternatives(all);
}

// Expressions for the names, which differ, at most `most` of them in one; each begins with "^", so that
// it matches nothing else in whatever order a program reads the keys.
inline std::vector<std::string> compact_patterns(const std::vector<std::string>& names,
                                                 std::size_t most = 400) {
  std::vector<name_parts> split;
  for (const std::string& name : names) {
    name_parts parts;
    for (std::size_t begin = 0;;) {
      const std::size_t dot = name.find('.', begin);
      parts.push_back(std::string_view(name).substr(begin, dot - begin));
      if (dot == std::string::npos) {
        break;
      }
      begin = dot + 1;
    }
    split.push_back(std::move(parts));
  }
  std::sort(split.begin(), split.end());
  std::vector<std::string> expressions;
  for (std::size_t begin = 0; begin < split.size();) {
    std::size_t count = std::min(most, split.size() - begin);
    const auto together = [&] {
      return "^" + expression_of(std::span(split).subspan(begin, count), 0);
    };
    std::string expression = together();
    while (expression.size() > longest_expression / 3 && count > 1) {
      count /= 2;
      expression = together();
    }
    begin += count;
    expressions.push_back(std::move(expression));
  }
  return expressions;
}

}  // namespace preheat::peft::detail
