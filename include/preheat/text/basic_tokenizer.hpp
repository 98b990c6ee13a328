// What BERT's tokenizer does to a text before it cuts words into pieces (text/wordpiece.hpp): it
// decodes UTF-8 to code points, cleans and decomposes them, removes accents and turns them to lower
// case; and it classifies white space and punctuation. Needs utf8proc.
#pragma once
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"

namespace preheat::text {

namespace detail {

// The code points of a text; bytes that are not UTF-8 are left out.
inline std::vector<utf8proc_int32_t> decoded(std::string_view text) {
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  const auto* next = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  utf8proc_ssize_t left = utf8proc_ssize_t(text.size());
  while (left > 0) {
    utf8proc_int32_t point = 0;
    const utf8proc_ssize_t taken = utf8proc_iterate(next, left, &point);
    if (taken > 0) {
      points.push_back(point);
    }
    const utf8proc_ssize_t step = std::max<utf8proc_ssize_t>(taken, 1);
    next += step;
    left -= step;
  }
  return points;
}

inline void append_utf8(std::string& text, utf8proc_int32_t point) {
  std::array<utf8proc_uint8_t, 4> bytes{};
  const utf8proc_ssize_t count = utf8proc_encode_char(point, bytes.data());
  text.append(reinterpret_cast<const char*>(bytes.data()), std::size_t(count));
}

// The NFD form of valid UTF-8.
inline std::vector<utf8proc_int32_t> decomposed(const std::string& text) {
  const auto* const bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const auto write = [&](std::vector<utf8proc_int32_t>& points) {
    const utf8proc_ssize_t count =
        utf8proc_decompose(bytes, utf8proc_ssize_t(text.size()), points.data(),
                           utf8proc_ssize_t(points.size()), UTF8PROC_DECOMPOSE);
    if (count < 0) {
      throw library_error(std::string("utf8proc_decompose: ") + utf8proc_errmsg(count));
    }
    return std::size_t(count);
  };
  std::vector<utf8proc_int32_t> points;
  points.resize(write(points));  // the first call only counts
  write(points);
  return points;
}

inline bool is_dropped(utf8proc_int32_t point) {
  if (point == '\t' || point == '\n' || point == '\r') {
    return false;
  }
  switch (utf8proc_category(point)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CS:
      return true;
    default:
      return point == 0xFFFD;
  }
}

inline bool is_white_space(utf8proc_int32_t point) {
  if (point == '\t' || point == '\n' || point == '\r') {
    return true;
  }
  const utf8proc_category_t category = utf8proc_category(point);
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

// All ASCII symbols count as punctuation.
inline bool is_punctuation(utf8proc_int32_t point) {
  const bool ascii = (point >= '!' && point <= '/') || (point >= ':' && point <= '@') ||
                     (point >= '[' && point <= '`') || (point >= '{' && point <= '~');
  const utf8proc_category_t category = utf8proc_category(point);
  return ascii || (category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO);
}

// The blocks that the original calls Chinese, with the gap 2B820 to 2B91F as in `tokenizers`.
inline bool is_chinese(utf8proc_int32_t point) {
  constexpr std::array<std::pair<utf8proc_int32_t, utf8proc_int32_t>, 8> blocks = {{
      {0x4E00, 0x9FFF},
      {0x3400, 0x4DBF},
      {0x20000, 0x2A6DF},
      {0x2A700, 0x2B73F},
      {0x2B740, 0x2B81F},
      {0x2B920, 0x2CEAF},
      {0xF900, 0xFAFF},
      {0x2F800, 0x2FA1F},
  }};
  return std::any_of(blocks.begin(), blocks.end(), [point](const auto& block) {
    return point >= block.first && point <= block.second;
  });
}

// The cleaned text, with spaces around Chinese characters.
inline std::string cleaned(std::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  for (const utf8proc_int32_t point : decoded(text)) {
    if (is_dropped(point)) {
      continue;
    }
    if (is_white_space(point)) {
      clean += ' ';
    } else if (is_chinese(point)) {
      clean += ' ';
      append_utf8(clean, point);
      clean += ' ';
    } else {
      append_utf8(clean, point);
    }
  }
  return clean;
}

// Decomposed, without nonspacing marks, in lower case, character by character.
inline std::vector<utf8proc_int32_t> folded(const std::string& clean) {
  std::vector<utf8proc_int32_t> points = decomposed(clean);
  std::erase_if(points, [](utf8proc_int32_t point) {
    return utf8proc_category(point) == UTF8PROC_CATEGORY_MN;
  });
  for (utf8proc_int32_t& point : points) {
    point = utf8proc_tolower(point);
  }
  return points;
}

}  // namespace detail

}  // namespace preheat::text
