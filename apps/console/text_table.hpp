// Numbers and tables as text, columns aligned by what is seen.
#pragma once
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace apps::console {

// The shortest decimal text that reads back as the same number: 0.003, 0.1, nan.
inline std::string to_text(double value) {
  std::array<char, 32> buffer{};
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return std::string(buffer.data(), result.ptr);
}

// The columns a UTF-8 text takes on a terminal: its code points, which is right for everything this
// program prints (no combining and no double-width characters).
inline std::size_t display_width(std::string_view text) {
  return std::size_t(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;  // not a continuation byte
  }));
}

enum class align { left, right };

// Filled with spaces to a display width; longer texts stay whole.
inline std::string padded(std::string_view text, std::size_t width, align side) {
  const std::string fill(width - std::min(width, display_width(text)), ' ');
  return side == align::left ? std::string(text) + fill : fill + std::string(text);
}

// With so many decimals, without the sign of a zero; "–" for a number that is not finite.
inline std::string fixed(double value, int decimals) {
  if (!std::isfinite(value)) {
    return "–";
  }
  std::array<char, 400> buffer{};  // the longest double has 309 digits before the point
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                    std::chars_format::fixed, decimals);
  const std::string text(buffer.data(), result.ptr);
  const bool negative_zero = text[0] == '-' && text.find_first_not_of("-0.") == std::string::npos;
  return negative_zero ? text.substr(1) : text;
}

// Digits in groups of three: 12 345.
inline std::string grouped(long value) {
  std::string text = std::to_string(value);
  for (std::size_t i = text.size(); i > 3; i -= 3) {
    text.insert(i - 3, 1, ' ');
  }
  return text;
}

// The numbers as texts, with a separator between them.
template <class Numbers>
std::string joined(const Numbers& values, const std::string& separator) {
  std::string text;
  for (const auto value : values) {
    if (!text.empty()) {
      text += separator;
    }
    text += to_text(double(value));
  }
  return text;
}

struct column {
  std::string title;
  align side = align::right;
};

// Rows of texts under titles, columns two spaces apart, with a line below the titles. Every row has
// one text per column; throws std::invalid_argument if not.
class table {
 public:
  explicit table(std::vector<column> columns) : columns_(std::move(columns)) {}

  void add(std::vector<std::string> row) {
    if (row.size() != columns_.size()) {
      throw std::invalid_argument("table: texts of a row = columns (" + std::to_string(row.size()) +
                                  ", " + std::to_string(columns_.size()) + ")");
    }
    rows_.push_back(std::move(row));
  }

  bool empty() const { return rows_.empty(); }

  std::string to_string() const {
    std::vector<std::string> titles;
    std::vector<std::size_t> widths;
    std::size_t total = 2 * (columns_.size() - 1);
    for (std::size_t j = 0; j < columns_.size(); ++j) {
      titles.push_back(columns_[j].title);
      widths.push_back(display_width(columns_[j].title));
      for (const std::vector<std::string>& row : rows_) {
        widths[j] = std::max(widths[j], display_width(row[j]));
      }
      total += widths[j];
    }
    std::string text = line(titles, widths);
    for (std::size_t i = 0; i < total; ++i) {
      text += "─";
    }
    text += "\n";
    for (const std::vector<std::string>& row : rows_) {
      text += line(row, widths);
    }
    return text;
  }

 private:
  std::string line(const std::vector<std::string>& texts,
                   const std::vector<std::size_t>& widths) const {
    std::string whole;
    for (std::size_t j = 0; j < texts.size(); ++j) {
      whole += (j == 0 ? "" : "  ") + padded(texts[j], widths[j], columns_[j].side);
    }
    whole.erase(whole.find_last_not_of(' ') + 1);
    return whole + "\n";
  }

  std::vector<column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace apps::console
