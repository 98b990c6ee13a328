// The types of metadata values in a GGUF file, numbered as the format numbers them.
#pragma once
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace preheat::gguf {

enum class value_type : std::uint32_t {
  UINT8,
  INT8,
  UINT16,
  INT16,
  UINT32,
  INT32,
  FLOAT32,
  BOOL,
  STRING,
  ARRAY,
  UINT64,
  INT64,
  FLOAT64
};

namespace detail {

struct value_type_entry {
  std::string_view name;
  std::size_t size;  // bytes of one value, or the fewest that a string or an array has
};

// One row for each type, in the order of the enumeration.
inline constexpr std::array<value_type_entry, 13> value_type_table = {{
    {"UINT8", 1},
    {"INT8", 1},
    {"UINT16", 2},
    {"INT16", 2},
    {"UINT32", 4},
    {"INT32", 4},
    {"FLOAT32", 4},
    {"BOOL", 1},
    {"STRING", 8},
    {"ARRAY", 12},
    {"UINT64", 8},
    {"INT64", 8},
    {"FLOAT64", 8},
}};

}  // namespace detail

// The name of a type, as "UINT32".
constexpr std::string_view name_of(value_type type) {
  return detail::value_type_table[static_cast<std::size_t>(type)].name;
}

// The type of that number, or nothing.
constexpr std::optional<value_type> value_type_numbered(std::uint32_t number) {
  if (number >= detail::value_type_table.size()) {
    return std::nullopt;
  }
  return static_cast<value_type>(number);
}

// Whether values of the type are all of one size; strings and arrays are not.
constexpr bool has_fixed_size(value_type type) {
  return type != value_type::STRING && type != value_type::ARRAY;
}

// Bytes of one value of a type of fixed size; the fewest bytes of a string or an array.
constexpr std::size_t least_size_of(value_type type) {
  return detail::value_type_table[static_cast<std::size_t>(type)].size;
}

// What a value of a fixed size is in C++: float, double, bool, or an integer of 8 to 64 bits.
template <class T>
concept metadata_number = std::same_as<T, float> || std::same_as<T, double> ||
    (std::integral<T> && !std::same_as<T, char> && !std::same_as<T, wchar_t> &&
     !std::same_as<T, char8_t> && !std::same_as<T, char16_t> && !std::same_as<T, char32_t>);

// The type that stores a T unchanged: value_type_of<float>() is FLOAT32.
template <metadata_number T>
constexpr value_type value_type_of() {
  if constexpr (std::same_as<T, float>) {
    return value_type::FLOAT32;
  } else if constexpr (std::same_as<T, double>) {
    return value_type::FLOAT64;
  } else if constexpr (std::same_as<T, bool>) {
    return value_type::BOOL;
  } else if constexpr (sizeof(T) == 1) {
    return std::signed_integral<T> ? value_type::INT8 : value_type::UINT8;
  } else if constexpr (sizeof(T) == 2) {
    return std::signed_integral<T> ? value_type::INT16 : value_type::UINT16;
  } else if constexpr (sizeof(T) == 4) {
    return std::signed_integral<T> ? value_type::INT32 : value_type::UINT32;
  } else {
    static_assert(sizeof(T) == 8, "an integer of 8, 16, 32 or 64 bits is expected here");
    return std::signed_integral<T> ? value_type::INT64 : value_type::UINT64;
  }
}

}  // namespace preheat::gguf
