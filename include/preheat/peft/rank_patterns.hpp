// How a config gives modules of several ranks and α their own: the most frequent as r and lora_alpha, the
// others as rank_pattern and alpha_pattern under their full names, longest name first; many others in a few
// expressions (compact_pattern.hpp). Where a name is the end of another ("query" and "layer.0.query"), its
// key begins with "^", so that it matches only itself in whatever order another program sorts the keys.
//
// Cost: O(total length of the names·log of their number).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "compact_pattern.hpp"

namespace preheat::peft {

// A module with its rank and α, for config::set_ranks.
struct module_rank {
  std::string module;
  index_t rank = 0;
  double alpha = 0;
};

namespace detail {

// 16 rather than 16.0, as PEFT's users write it.
inline nlohmann::ordered_json json_number(double value) {
  constexpr double exact = 9007199254740992.0;  // 2^53
  if (value == std::floor(value) && std::abs(value) < exact) {
    return static_cast<long long>(value);
  }
  return value;
}

template <class Key>
using modules_by = std::map<Key, std::vector<const module_rank*>>;

template <class Key>
Key most_frequent(const modules_by<Key>& modules) {
  return std::max_element(
             modules.begin(), modules.end(),
             [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); })
      ->first;
}

// A pattern that gives every module its value. Names that are in `ends` need a key of their own.
template <class Key, class Number>
nlohmann::ordered_json pattern_of(const modules_by<Key>& modules, Key common,
                                  const std::set<std::string_view>& ends, const Number& number) {
  constexpr std::size_t most_names = 64;
  nlohmann::ordered_json pattern = nlohmann::ordered_json::object();
  std::vector<std::pair<const module_rank*, Key>> named;
  for (const auto& [value, members] : modules) {
    for (const module_rank* m : members) {
      if (modules.size() > 1 && (value != common || ends.contains(m->module))) {
        named.emplace_back(m, value);
      }
    }
  }
  if (named.size() > most_names) {
    std::map<Key, std::vector<std::string>> names;
    for (const auto& [m, value] : named) {
      names[value].push_back(m->module);
    }
    for (const auto& [value, members] : names) {
      for (const std::string& expression : compact_patterns(members)) {
        pattern[expression] = number(value);
      }
    }
    return pattern;
  }
  std::stable_sort(named.begin(), named.end(), [](const auto& a, const auto& b) {
    return a.first->module.size() > b.first->module.size();
  });
  for (const auto& [m, value] : named) {
    pattern[(ends.contains(m->module) ? "^" : "") + m->module] = number(value);
  }
  return pattern;
}

struct written_ranks {
  index_t rank = 0;
  double alpha = 0;
  nlohmann::ordered_json rank_pattern;
  nlohmann::ordered_json alpha_pattern;
};

inline written_ranks written_ranks_of(const std::vector<module_rank>& modules) {
  require(!modules.empty(), "an adapter has at least one module");
  modules_by<index_t> ranks;
  modules_by<double> alphas;
  std::set<std::string_view> all;
  std::set<std::string_view> ends;  // names that are the end of others
  for (const module_rank& m : modules) {
    ranks[m.rank].push_back(&m);
    alphas[m.alpha].push_back(&m);
    all.insert(m.module);
  }
  for (const module_rank& m : modules) {
    const std::string_view name = m.module;
    for (std::size_t dot = name.find('.'); dot != std::string_view::npos;
         dot = name.find('.', dot + 1)) {
      if (all.contains(name.substr(dot + 1))) {
        ends.insert(name.substr(dot + 1));
      }
    }
  }
  written_ranks written{most_frequent(ranks), most_frequent(alphas), {}, {}};
  written.rank_pattern =
      pattern_of(ranks, written.rank, ends, [](index_t r) { return nlohmann::ordered_json(r); });
  written.alpha_pattern = pattern_of(alphas, written.alpha, ends, json_number);
  return written;
}

}  // namespace detail

}  // namespace preheat::peft
