// The element types of stored tensors: their names and sizes, the C++ type of each, and the
// conversions between them.
//
// Names and order are those of the safetensors format. The order is the format's alignment order,
// which is also the order in which a writer lays tensors out, from the last to the first.
#pragma once
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "../core/types.hpp"
#include "float16.hpp"

namespace preheat::safetensors {

// The F8 types and C64 are known by their size and can be copied as bytes, but are not converted.
enum class dtype {
  BOOL,
  U8,
  I8,
  F8_E5M2,
  F8_E4M3,
  F8_E8M0,
  F8_E4M3FNUZ,
  F8_E5M2FNUZ,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  C64,
  F64,
  I64,
  U64
};

// The stored form of BOOL: one byte. Zero is false; writers store 1 for true.
struct boolean {
  std::uint8_t byte = 0;
};

namespace detail {

struct dtype_entry {
  dtype type;
  std::string_view name;
  index_t size;
};

// One row for each dtype, in the order of the enumeration.
inline constexpr std::array<dtype_entry, 19> dtype_table = {{
    {dtype::BOOL, "BOOL", 1},
    {dtype::U8, "U8", 1},
    {dtype::I8, "I8", 1},
    {dtype::F8_E5M2, "F8_E5M2", 1},
    {dtype::F8_E4M3, "F8_E4M3", 1},
    {dtype::F8_E8M0, "F8_E8M0", 1},
    {dtype::F8_E4M3FNUZ, "F8_E4M3FNUZ", 1},
    {dtype::F8_E5M2FNUZ, "F8_E5M2FNUZ", 1},
    {dtype::I16, "I16", 2},
    {dtype::U16, "U16", 2},
    {dtype::F16, "F16", 2},
    {dtype::BF16, "BF16", 2},
    {dtype::I32, "I32", 4},
    {dtype::U32, "U32", 4},
    {dtype::F32, "F32", 4},
    {dtype::C64, "C64", 8},
    {dtype::F64, "F64", 8},
    {dtype::I64, "I64", 8},
    {dtype::U64, "U64", 8},
}};

}  // namespace detail

// The name of a dtype in a file, as "F32".
constexpr std::string_view name_of(dtype type) {
  return detail::dtype_table[static_cast<std::size_t>(type)].name;
}

// Bytes of one element.
constexpr index_t size_of(dtype type) {
  return detail::dtype_table[static_cast<std::size_t>(type)].size;
}

// The dtype of that name, or nothing.
constexpr std::optional<dtype> dtype_named(std::string_view name) {
  for (const detail::dtype_entry& entry : detail::dtype_table) {
    if (entry.name == name) {
      return entry.type;
    }
  }
  return std::nullopt;
}

namespace detail {

template <class T, class... Others>
concept one_of = (std::same_as<T, Others> || ...);

}  // namespace detail

// What a caller computes with: float, double, and integers that are neither bool nor characters.
template <class T>
concept number = detail::one_of<T, float, double> ||
    (std::integral<T> && !detail::one_of<T, bool, char, wchar_t, char8_t, char16_t, char32_t>);

// What a file stores, apart from bytes that stay bytes: numbers and the 16-bit formats.
template <class T>
concept element = number<T> || detail::one_of<T, float16, bfloat16>;

// Elements with a fraction.
template <class T>
concept floating_element = element<T> && !std::integral<T>;

// Whether the dtype is one that floating_element types convert to: F16, BF16, F32, F64.
constexpr bool is_floating(dtype type) {
  return type == dtype::F16 || type == dtype::BF16 || type == dtype::F32 || type == dtype::F64;
}

// The dtype that stores a T unchanged: dtype_of<float>() is F32, dtype_of<long>() is I64 where long
// has 64 bits.
template <element T>
constexpr dtype dtype_of() {
  if constexpr (std::same_as<T, double>) {
    return dtype::F64;
  } else if constexpr (std::same_as<T, float>) {
    return dtype::F32;
  } else if constexpr (std::same_as<T, float16>) {
    return dtype::F16;
  } else if constexpr (std::same_as<T, bfloat16>) {
    return dtype::BF16;
  } else if constexpr (sizeof(T) == 1) {
    return std::signed_integral<T> ? dtype::I8 : dtype::U8;
  } else if constexpr (sizeof(T) == 2) {
    return std::signed_integral<T> ? dtype::I16 : dtype::U16;
  } else if constexpr (sizeof(T) == 4) {
    return std::signed_integral<T> ? dtype::I32 : dtype::U32;
  } else {
    static_assert(sizeof(T) == 8, "an integer of 8, 16, 32 or 64 bits is expected here");
    return std::signed_integral<T> ? dtype::I64 : dtype::U64;
  }
}

// Calls visit(std::type_identity<Stored>{}) with the C++ type that has the layout of `type`, and
// returns true; or returns false for the dtypes that are not converted.
template <class Visitor>
bool visit_dtype(dtype type, Visitor&& visit) {
  switch (type) {
    case dtype::BOOL:
      visit(std::type_identity<boolean>{});
      return true;
    case dtype::U8:
      visit(std::type_identity<std::uint8_t>{});
      return true;
    case dtype::I8:
      visit(std::type_identity<std::int8_t>{});
      return true;
    case dtype::I16:
      visit(std::type_identity<std::int16_t>{});
      return true;
    case dtype::U16:
      visit(std::type_identity<std::uint16_t>{});
      return true;
    case dtype::F16:
      visit(std::type_identity<float16>{});
      return true;
    case dtype::BF16:
      visit(std::type_identity<bfloat16>{});
      return true;
    case dtype::I32:
      visit(std::type_identity<std::int32_t>{});
      return true;
    case dtype::U32:
      visit(std::type_identity<std::uint32_t>{});
      return true;
    case dtype::F32:
      visit(std::type_identity<float>{});
      return true;
    case dtype::F64:
      visit(std::type_identity<double>{});
      return true;
    case dtype::I64:
      visit(std::type_identity<std::int64_t>{});
      return true;
    case dtype::U64:
      visit(std::type_identity<std::uint64_t>{});
      return true;
    default:
      return false;
  }
}

// Whether convert<To>(x) is defined. A floating-point target takes every number, rounded. An
// integer takes only the numbers that it holds exactly: no fraction, no NaN, in range. A boolean
// takes 0 and 1.
template <class To, class From>
constexpr bool representable(From x) {
  if constexpr (detail::one_of<From, float16, bfloat16>) {
    return representable<To>(to_float(x));
  } else if constexpr (floating_element<To> || std::same_as<From, boolean>) {
    return true;
  } else if constexpr (std::same_as<To, boolean>) {
    return x == 0 || x == 1;
  } else if constexpr (std::integral<From>) {
    return std::in_range<To>(x);
  } else {
    // The limits are powers of two, hence exact: -2^n <= x < 2^n, or 0 <= x < 2^n if unsigned.
    constexpr int digits = std::numeric_limits<To>::digits;
    constexpr From above = From{2} * static_cast<From>(std::uint64_t{1} << (digits - 1));
    constexpr From lowest = std::signed_integral<To> ? -above : From{0};
    if (!(lowest <= x && x < above)) {
      return false;
    }
    return static_cast<From>(static_cast<To>(x)) == x;
  }
}

// x as a To. Requires representable<To>(x). Floating-point results are rounded to nearest, ties to
// even, once, except that an integer is not turned into a 16-bit format (a caller that needs that
// chooses the way through float or double). Beyond the largest finite number: infinity.
template <class To, class From>
constexpr To convert(From x) {
  if constexpr (std::same_as<To, From>) {
    return x;
  } else if constexpr (detail::one_of<From, float16, bfloat16>) {
    return convert<To>(to_float(x));
  } else if constexpr (std::same_as<From, boolean>) {
    return static_cast<To>(x.byte != 0);
  } else if constexpr (detail::one_of<To, float16, bfloat16>) {
    static_assert(std::floating_point<From>, "convert an integer to float or double first");
    return round_to<To>(x);
  } else if constexpr (std::same_as<To, boolean>) {
    return boolean{static_cast<std::uint8_t>(x)};
  } else {
    return static_cast<To>(x);
  }
}

}  // namespace preheat::safetensors
