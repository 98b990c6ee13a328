// A fixture's rows of different lengths: tensors `values` or `bytes` with `offsets`.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "fixtures.hpp"

namespace golden {

class lists {
 public:
  lists(const fixture& file, const std::string& values, const std::string& offsets)
      : values_(file.entries(values)), offsets_(file.entries(offsets)) {
    if (offsets_.empty() || offsets_.back() != double(values_.size())) {
      file.fail("has no rows in " + values);
    }
  }

  std::size_t count() const { return offsets_.size() - 1; }
  std::vector<index_t> numbers(std::size_t i) const {
    return {values_.begin() + index_t(offsets_.at(i)),
            values_.begin() + index_t(offsets_.at(i + 1))};
  }
  std::string text(std::size_t i) const {
    std::string bytes;
    for (const index_t byte : numbers(i)) {
      bytes += char(byte);
    }
    return bytes;
  }

 private:
  std::vector<double> values_;
  std::vector<double> offsets_;
};

}  // namespace golden
