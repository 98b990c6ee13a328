// Text that may not be UTF-8: every maximal invalid part becomes one U+FFFD, as the Unicode standard
// recommends (chapter 3, "U+FFFD Substitution of Maximal Subparts") and as Python decodes with
// errors="replace".
#pragma once
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace preheat::text {

namespace detail {

// The first character of a text that is not empty, or the longest beginning of one.
struct utf8_part {
  std::size_t bytes = 1;
  bool valid = false;
};

inline utf8_part first_part(std::string_view text) {
  // Lead bytes, the bytes that may follow directly, and the length. Later bytes are 80 to BF.
  struct form {
    unsigned char first, last, follow_first, follow_last;
    std::size_t bytes;
  };
  constexpr std::array<form, 8> forms = {{{0xC2, 0xDF, 0x80, 0xBF, 2},
                                          {0xE0, 0xE0, 0xA0, 0xBF, 3},
                                          {0xE1, 0xEC, 0x80, 0xBF, 3},
                                          {0xED, 0xED, 0x80, 0x9F, 3},
                                          {0xEE, 0xEF, 0x80, 0xBF, 3},
                                          {0xF0, 0xF0, 0x90, 0xBF, 4},
                                          {0xF1, 0xF3, 0x80, 0xBF, 4},
                                          {0xF4, 0xF4, 0x80, 0x8F, 4}}};
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto between = [](unsigned char x, unsigned char a, unsigned char b) {
    return a <= x && x <= b;
  };
  if (byte(0) < 0x80) {
    return {1, true};
  }
  for (const form& f : forms) {
    if (!between(byte(0), f.first, f.last)) {
      continue;
    }
    std::size_t good = 1;
    while (
        good < f.bytes && good < text.size() &&
        between(byte(good), good == 1 ? f.follow_first : 0x80, good == 1 ? f.follow_last : 0xBF)) {
      ++good;
    }
    return {good, good == f.bytes};
  }
  return {1, false};
}

}  // namespace detail

// Cost: one pass.
inline bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const detail::utf8_part part = detail::first_part(text);
    if (!part.valid) {
      return false;
    }
    text.remove_prefix(part.bytes);
  }
  return true;
}

// The same text where it is UTF-8. Cost: one pass.
inline std::string to_utf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    const detail::utf8_part part = detail::first_part(text);
    valid += part.valid ? text.substr(0, part.bytes) : "\uFFFD";
    text.remove_prefix(part.bytes);
  }
  return valid;
}

}  // namespace preheat::text
