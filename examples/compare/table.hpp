// Text tables with aligned columns, and summary.csv.
#pragma once
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "selection.hpp"

namespace comparison {

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

// "0.812 ± 0.034", or "0.812 ± –" when there is no interval.
inline std::string with_interval(const estimate& e, int decimals) {
  return std::isfinite(e.mean) ? fixed(e.mean, decimals) + " ± " + fixed(e.half, decimals) : "–";
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
// one text a column; throws std::invalid_argument if not.
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

// The table of one shift at one rank. A * marks a best rate at the edge of the tried ones.
inline std::string summary_table(std::span<const summary_row> rows) {
  table t({{"method", align::left},
           {"best rate", align::right},
           {"test accuracy", align::right},
           {"gain over LoRA", align::right},
           {"test loss", align::right},
           {"trained", align::right},
           {"s/run", align::right}});
  for (const summary_row& row : rows) {
    std::string rate = "none: diverged";
    if (!row.failed) {
      rate = row.rate > 0 ? to_text(row.rate) + (row.at_edge ? "*" : " ") : "– ";
    }
    std::string gain = with_interval(row.gain, 3);
    if (std::isfinite(row.gain.mean) && gain[0] != '-') {
      gain.insert(0, 1, '+');
    }
    t.add({row.name, rate, with_interval(row.test_accuracy, 3), gain,
           with_interval(row.test_loss, 3), grouped(row.trainable_parameters),
           fixed(row.seconds, 2)});
  }
  return t.to_string();
}

// A text as a CSV field: in quotes if it has to be.
inline std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) {
    return text;
  }
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  }
  return quoted + "\"";
}

// All rows, numbers in full, empty where there is none. Throws std::runtime_error if it cannot.
inline void write_summary(const std::filesystem::path& path, std::span<const summary_row> rows) {
  const auto number = [](double value) {
    return std::isfinite(value) ? to_text(value) : std::string();
  };
  std::ofstream file(path);
  file << "shift,rank,method,name,rate,rate_at_edge,bases,runs,validation_loss,"
          "test_accuracy,test_accuracy_half95,gain_over_lora,gain_over_lora_half95,"
          "test_loss,test_loss_half95,trainable_parameters,seconds_per_run\n";
  for (const summary_row& row : rows) {
    file << row.shift << ',' << row.rank << ',' << row.method << ',' << csv_field(row.name) << ','
         << number(row.rate) << ',' << (row.at_edge ? 1 : 0) << ',' << row.bases << ',' << row.runs
         << ',' << number(row.validation_loss) << ',' << number(row.test_accuracy.mean) << ','
         << number(row.test_accuracy.half) << ',' << number(row.gain.mean) << ','
         << number(row.gain.half) << ',' << number(row.test_loss.mean) << ','
         << number(row.test_loss.half) << ',' << row.trainable_parameters << ','
         << number(row.seconds) << '\n';
  }
  file.close();
  if (!file) {
    throw std::runtime_error("cannot write " + path.string());
  }
}

}  // namespace comparison
