// A hash table with strings as keys that is asked by a string_view, without a copy.
#pragma once
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace preheat::text::detail {

struct string_hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>{}(text);
  }
};

template <class Value>
using string_table = std::unordered_map<std::string, Value, string_hash, std::equal_to<>>;

}  // namespace preheat::text::detail
