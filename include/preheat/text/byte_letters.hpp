// The letters that byte-level vocabularies write for bytes: GPT-2 names every byte by one printable
// character, so that a token is a readable string and a vocabulary is a text file.
//
// The printable characters of Latin-1 (21 to 7E, A1 to AC, AE to FF) stand for themselves; the other
// 68 bytes are U+0100, U+0101, … in their order. So a space is "Ġ" and a line feed is "Ċ".
// Source: Radford et al. 2019 (GPT-2), bytes_to_unicode in its encoder.
#pragma once
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "utf8.hpp"

namespace preheat::text {

namespace detail {

constexpr int byte_count = 256;
constexpr int letter_count = byte_count + 68;

struct byte_letter_table {
  std::array<int, byte_count> letter{};     // the code point of a byte
  std::array<int, letter_count> byte_of{};  // the byte of a code point; -1: of none
};

constexpr byte_letter_table make_byte_letters() {
  byte_letter_table table;
  table.byte_of.fill(-1);
  int next = byte_count;
  for (int byte = 0; byte < byte_count; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    table.letter[std::size_t(byte)] = printable ? byte : next++;
    table.byte_of[std::size_t(table.letter[std::size_t(byte)])] = byte;
  }
  return table;
}

inline constexpr byte_letter_table byte_letters = make_byte_letters();

}  // namespace detail

// The letter of a byte, in UTF-8.
inline std::string letter_of_byte(unsigned char byte) {
  const int point = detail::byte_letters.letter[byte];
  if (point < 0x80) {
    return {char(point)};
  }
  return {char(0xC0 | (point >> 6)), char(0x80 | (point & 0x3F))};
}

// The bytes that a token's letters stand for; none if a character of it is not such a letter.
inline std::optional<std::string> bytes_of_letters(std::string_view token) {
  std::string bytes;
  while (!token.empty()) {
    const detail::utf8_part part = detail::first_part(token);
    if (!part.valid || part.bytes > 2) {
      return std::nullopt;
    }
    const int lead = static_cast<unsigned char>(token[0]);
    const int point = part.bytes == 1 ? lead : (lead & 0x1F) << 6 | (token[1] & 0x3F);
    if (point >= detail::letter_count || detail::byte_letters.byte_of[std::size_t(point)] < 0) {
      return std::nullopt;
    }
    bytes += char(detail::byte_letters.byte_of[std::size_t(point)]);
    token.remove_prefix(part.bytes);
  }
  return bytes;
}

}  // namespace preheat::text
