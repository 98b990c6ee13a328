// The types of tensors in a GGUF file, numbered as ggml numbers them. A tensor is stored in blocks:
// so many entries of one row together in so many bytes.
//
// F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K can be unpacked (unpack.hpp). The others
// are known by their size, so that a file that has them can be opened and its metadata read.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "../core/types.hpp"

namespace preheat::gguf {

enum class tensor_type : std::uint32_t {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q5_0 = 6,
  Q5_1 = 7,
  Q8_0 = 8,
  Q2_K = 10,
  Q3_K = 11,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  IQ2_XXS = 16,
  IQ2_XS = 17,
  IQ3_XXS = 18,
  IQ1_S = 19,
  IQ4_NL = 20,
  IQ3_S = 21,
  IQ2_S = 22,
  IQ4_XS = 23,
  I8 = 24,
  I16 = 25,
  I32 = 26,
  I64 = 27,
  F64 = 28,
  IQ1_M = 29,
  BF16 = 30,
  TQ1_0 = 34,
  TQ2_0 = 35,
  MXFP4 = 39
};

namespace detail {

struct tensor_type_entry {
  tensor_type type;
  std::string_view name;
  index_t block_entries;
  index_t block_bytes;
};

inline constexpr std::array<tensor_type_entry, 30> tensor_type_table = {{
    {tensor_type::F32, "F32", 1, 4},
    {tensor_type::F16, "F16", 1, 2},
    {tensor_type::Q4_0, "Q4_0", 32, 18},
    {tensor_type::Q4_1, "Q4_1", 32, 20},
    {tensor_type::Q5_0, "Q5_0", 32, 22},
    {tensor_type::Q5_1, "Q5_1", 32, 24},
    {tensor_type::Q8_0, "Q8_0", 32, 34},
    {tensor_type::Q2_K, "Q2_K", 256, 84},
    {tensor_type::Q3_K, "Q3_K", 256, 110},
    {tensor_type::Q4_K, "Q4_K", 256, 144},
    {tensor_type::Q5_K, "Q5_K", 256, 176},
    {tensor_type::Q6_K, "Q6_K", 256, 210},
    {tensor_type::IQ2_XXS, "IQ2_XXS", 256, 66},
    {tensor_type::IQ2_XS, "IQ2_XS", 256, 74},
    {tensor_type::IQ3_XXS, "IQ3_XXS", 256, 98},
    {tensor_type::IQ1_S, "IQ1_S", 256, 50},
    {tensor_type::IQ4_NL, "IQ4_NL", 32, 18},
    {tensor_type::IQ3_S, "IQ3_S", 256, 110},
    {tensor_type::IQ2_S, "IQ2_S", 256, 82},
    {tensor_type::IQ4_XS, "IQ4_XS", 256, 136},
    {tensor_type::I8, "I8", 1, 1},
    {tensor_type::I16, "I16", 1, 2},
    {tensor_type::I32, "I32", 1, 4},
    {tensor_type::I64, "I64", 1, 8},
    {tensor_type::F64, "F64", 1, 8},
    {tensor_type::IQ1_M, "IQ1_M", 256, 56},
    {tensor_type::BF16, "BF16", 1, 2},
    {tensor_type::TQ1_0, "TQ1_0", 256, 54},
    {tensor_type::TQ2_0, "TQ2_0", 256, 66},
    {tensor_type::MXFP4, "MXFP4", 32, 17},
}};

constexpr const tensor_type_entry* find_tensor_type(std::uint32_t number) {
  for (const tensor_type_entry& entry : tensor_type_table) {
    if (static_cast<std::uint32_t>(entry.type) == number) {
      return &entry;
    }
  }
  return nullptr;
}

}  // namespace detail

// The type of that number, or nothing.
constexpr std::optional<tensor_type> tensor_type_numbered(std::uint32_t number) {
  const detail::tensor_type_entry* const entry = detail::find_tensor_type(number);
  return entry == nullptr ? std::nullopt : std::optional(entry->type);
}

// The name of a type, as "Q4_K".
constexpr std::string_view name_of(tensor_type type) {
  return detail::find_tensor_type(static_cast<std::uint32_t>(type))->name;
}

// Entries of one block; a row is a whole number of blocks.
constexpr index_t block_entries(tensor_type type) {
  return detail::find_tensor_type(static_cast<std::uint32_t>(type))->block_entries;
}

// Bytes of one block.
constexpr index_t block_bytes(tensor_type type) {
  return detail::find_tensor_type(static_cast<std::uint32_t>(type))->block_bytes;
}

}  // namespace preheat::gguf
