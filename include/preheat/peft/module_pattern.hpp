// rank_pattern and alpha_pattern of an adapter_config.json: values by regular expressions on the names
// of modules. A key means re.match("(.*\.)?(key)$", name), and the first key of the file that matches counts.
//
// Most keys are names. They are found by their hash, so that thousands of modules with a key each take no
// longer than the file itself: O(modules·(kinds of names + expressions that are none)).
#pragma once
#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../files/strict_json.hpp"
#include "name_expression.hpp"

namespace preheat::peft::detail {

// A key that is a name: characters that match themselves, and dots that match any.
struct literal_key {
  bool whole = false;                 // "^": nothing may stand before it
  std::string text;                   // with "." at the places of `any`
  std::vector<std::size_t> any = {};  // dots without a backslash
};

// Nothing if the key has other signs of regular expressions.
inline std::optional<literal_key> as_literal(std::string_view key) {
  literal_key literal;
  if (key.starts_with('^')) {
    literal.whole = true;
    key.remove_prefix(1);
  }
  for (std::size_t i = 0; i < key.size(); ++i) {
    const char c = key[i];
    const bool itself = ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') ||
                        ('0' <= c && c <= '9') || c == '_' || c == '-' || c == '/' || c == ':';
    if (c == '.') {
      literal.any.push_back(literal.text.size());
    } else if (c == '\\' && key.substr(i).starts_with("\\.")) {
      ++i;
    } else if (!itself) {
      return std::nullopt;
    }
    literal.text += key[i];
  }
  return literal.text.empty() ? std::nullopt : std::optional(literal);
}

// The literal keys of one length with dots at the same places.
class literal_group {
 public:
  explicit literal_group(const literal_key& like)
      : length_(like.text.size()), any_(like.any), whole_(like.whole) {}
  void add(const literal_key& key, std::size_t place) { places_.try_emplace(key.text, place); }
  // The place of the key that matches the end of the name; `none` if there is none.
  std::size_t find(std::string_view name, std::size_t none) const {
    if (name.size() < length_) {
      return none;
    }
    const std::size_t begin = name.size() - length_;
    if (begin > 0 && (whole_ || name[begin - 1] != '.')) {
      return none;
    }
    std::string end(name.substr(begin));
    for (const std::size_t i : any_) {
      end[i] = '.';
    }
    const auto found = places_.find(end);
    return found == places_.end() ? none : found->second;
  }

 private:
  std::size_t length_;
  std::vector<std::size_t> any_;
  bool whole_;
  std::unordered_map<std::string, std::size_t> places_;
};

// The keys of a pattern in the order of the file, each understood as PEFT reads it.
template <class Value>
class module_pattern {
 public:
  // Errors: io_error, naming the source and the key.
  void add(const std::string& key, Value value, const std::string& source) {
    const std::size_t place = values_.size();
    values_.push_back(value);
    if (const auto literal = as_literal(key)) {
      const auto shape =
          std::make_pair(literal->whole, std::make_pair(literal->text.size(), literal->any));
      groups_.try_emplace(shape, *literal).first->second.add(*literal, place);
      return;
    }
    try {
      expressions_.emplace_back(place, name_expression("(.*\\.)?(" + key + ")$"));
    } catch (const invalid_argument&) {
      try {
        name_expression alone(key);  // for an error about what the file says
      } catch (const invalid_argument& error) {
        throw io_error(source + ": " +
                       std::string(error.what()).substr(std::string("preheat: ").size()));
      }
      throw io_error(source + ": the pattern " + files::in_quotes(key) +
                     " is not a regular expression");
    }
  }

  Value operator()(const std::string& module, Value otherwise) const {
    std::size_t first = values_.size();
    for (const auto& [shape, group] : groups_) {
      first = std::min(first, group.find(module, values_.size()));
    }
    for (const auto& [place, expression] : expressions_) {
      if (place >= first) {
        break;
      }
      if (expression.matches(module)) {
        first = place;
      }
    }
    return first < values_.size() ? values_[first] : otherwise;
  }

 private:
  std::vector<Value> values_;
  std::map<std::pair<bool, std::pair<std::size_t, std::vector<std::size_t>>>, literal_group>
      groups_;
  std::vector<std::pair<std::size_t, name_expression>> expressions_;
};

}  // namespace preheat::peft::detail
