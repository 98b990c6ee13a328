// Values of metadata as the bytes of the format.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "value_type.hpp"

namespace preheat::gguf::detail {

using byte_string = std::vector<std::byte>;

inline void append(byte_string& to, std::span<const std::byte> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

// A number as it lies in memory; a bool as 0 or 1.
template <metadata_number T>
void append_number(byte_string& to, T value) {
  append(to, std::as_bytes(std::span(&value, 1)));
}

inline void append_string(byte_string& to, std::string_view text) {
  append_number(to, std::uint64_t(text.size()));
  append(to, std::as_bytes(std::span(text)));
}

inline void append_array_start(byte_string& to, value_type item, std::size_t count) {
  append_number(to, static_cast<std::uint32_t>(item));
  append_number(to, std::uint64_t(count));
}

}  // namespace preheat::gguf::detail
