// Tables of Markdown.
#pragma once
#include <cmath>
#include <string>
#include <vector>

#include "studies/common/report_document.hpp"

namespace studies::lm {

class markdown_table {
 public:
  explicit markdown_table(const std::vector<std::string>& heads) {
    add(heads);
    text_ += "|";
    for (std::size_t i = 0; i < heads.size(); ++i) {
      text_ += "---|";
    }
    text_ += "\n";
    heads_ = text_.size();
  }
  void add(const std::vector<std::string>& cells) {
    text_ += "|";
    for (const std::string& cell : cells) {
      text_ += " " + cell + " |";
    }
    text_ += "\n";
  }
  bool empty() const { return text_.size() == heads_; }
  // With an empty line after it; nothing if it has no rows.
  std::string to_string() const { return empty() ? std::string() : text_ + "\n"; }

 private:
  std::string text_;
  std::size_t heads_ = 0;
};

// "+0.012 ± 0.020", or nothing.
inline std::string signed_cell(const common::estimate& e) {
  return std::isfinite(e.mean) ? common::with_sign(e, 3) : std::string();
}

}  // namespace studies::lm
