// One value of a GGUF file's metadata, where it lies, and what it is in C++.
#pragma once
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "../safetensors/dtype.hpp"
#include "byte_cursor.hpp"
#include "value_type.hpp"

namespace preheat::gguf {

// The type, and the bytes as the format lays them out: a number or a bool as it is; a string as its
// length (8 bytes) and its characters; an array as the type of its items (4 bytes), their number (8
// bytes) and the items one after another. The bytes belong to the file or to whoever wrote them, and
// have been checked: every length is right, every type known, every bool 0 or 1.
struct metadata_value {
  value_type type = value_type::UINT8;
  std::span<const std::byte> bytes;
};

// Values by key, found by std::string_view without a copy.
using metadata_map = std::map<std::string, metadata_value, std::less<>>;

namespace detail {

// Calls visit(number) with a number or bool of the type, read from the cursor.
template <class Visitor>
auto visit_number(value_type type, byte_cursor& from, Visitor&& visit) {
  switch (type) {
    case value_type::UINT8:
      return visit(from.read<std::uint8_t>());
    case value_type::INT8:
      return visit(from.read<std::int8_t>());
    case value_type::UINT16:
      return visit(from.read<std::uint16_t>());
    case value_type::INT16:
      return visit(from.read<std::int16_t>());
    case value_type::UINT32:
      return visit(from.read<std::uint32_t>());
    case value_type::INT32:
      return visit(from.read<std::int32_t>());
    case value_type::UINT64:
      return visit(from.read<std::uint64_t>());
    case value_type::INT64:
      return visit(from.read<std::int64_t>());
    case value_type::FLOAT32:
      return visit(from.read<float>());
    case value_type::FLOAT64:
      return visit(from.read<double>());
    default:
      return visit(from.read<std::uint8_t>() != 0);
  }
}

template <class T>
inline constexpr bool is_text = std::same_as<T, std::string> || std::same_as<T, std::string_view>;

// The next value of a type that is not ARRAY; nothing if T does not hold it.
template <class T>
std::optional<T> read_one(value_type type, byte_cursor& from) {
  if constexpr (is_text<T>) {
    return type == value_type::STRING ? std::optional<T>(from.read_string()) : std::nullopt;
  } else {
    if (!has_fixed_size(type) || (type == value_type::BOOL) != std::same_as<T, bool>) {
      return std::nullopt;
    }
    return visit_number(type, from, [](auto number) -> std::optional<T> {
      if constexpr (std::same_as<T, bool> || std::same_as<decltype(number), bool>) {
        return T(number);  // both are: see above
      } else {
        const bool held = safetensors::representable<T>(number);
        return held ? std::optional<T>(safetensors::convert<T>(number)) : std::nullopt;
      }
    });
  }
}

struct array_start {
  value_type item;
  std::uint64_t count;
};

inline array_start read_array_start(byte_cursor& from) {
  const auto item = static_cast<value_type>(from.read<std::uint32_t>());
  return {item, from.read<std::uint64_t>()};
}

// Moves on behind a value, which has been checked.
inline void pass(value_type type, byte_cursor& from) {
  if (type == value_type::STRING) {
    from.read_string();
  } else if (type == value_type::ARRAY) {
    const array_start array = read_array_start(from);
    for (std::uint64_t i = 0; i < array.count; ++i) {
      pass(array.item, from);
    }
  } else {
    from.read_bytes(least_size_of(type));
  }
}

template <class T>
struct item_of {};
template <class T>
struct item_of<std::vector<T>> {
  using type = T;
};

}  // namespace detail

// The value as a T, or nothing if a T cannot hold it:
//   an integer     numbers of any type that it holds exactly
//   float, double  numbers of any type, rounded to nearest
//   bool           a BOOL
//   std::string    a STRING, whatever its bytes; std::string_view: the same in place
//   vector         an array whose items are held by its element (bool, numbers, text)
// Cost: O(bytes).
template <class T>
std::optional<T> value_as(const metadata_value& value) {
  byte_cursor from(value.bytes, "metadata");
  if constexpr (requires { typename detail::item_of<T>::type; }) {
    if (value.type != value_type::ARRAY) {
      return std::nullopt;
    }
    const detail::array_start array = detail::read_array_start(from);
    T items;
    if (array.item == value_type::ARRAY) {
      return array.count == 0 ? std::optional<T>(items) : std::nullopt;
    }
    items.reserve(std::size_t(array.count));  // not more than there are bytes
    for (std::uint64_t i = 0; i < array.count; ++i) {
      const auto item = detail::read_one<typename detail::item_of<T>::type>(array.item, from);
      if (!item) {
        return std::nullopt;
      }
      items.push_back(*item);
    }
    return items;
  } else {
    return value.type == value_type::ARRAY ? std::nullopt : detail::read_one<T>(value.type, from);
  }
}

// The items of an array of any kind, arrays of arrays included, where they lie; nothing for another
// value. Cost: O(bytes).
inline std::optional<std::vector<metadata_value>> items_of(const metadata_value& value) {
  if (value.type != value_type::ARRAY) {
    return std::nullopt;
  }
  byte_cursor from(value.bytes, "metadata");
  const detail::array_start array = detail::read_array_start(from);
  std::vector<metadata_value> items;
  for (std::uint64_t i = 0; i < array.count; ++i) {
    const std::size_t begin = from.place();
    detail::pass(array.item, from);
    items.push_back({array.item, from.since(begin)});
  }
  return items;
}

// "UINT32", or "an array of 3 STRING".
inline std::string type_text(const metadata_value& value) {
  if (value.type != value_type::ARRAY) {
    return std::string(name_of(value.type));
  }
  byte_cursor from(value.bytes, "metadata");
  const detail::array_start array = detail::read_array_start(from);
  return "an array of " + std::to_string(array.count) + " " + std::string(name_of(array.item));
}

}  // namespace preheat::gguf
