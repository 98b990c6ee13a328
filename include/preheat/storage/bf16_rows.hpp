// A matrix in bfloat16: 2 bytes an entry, rounded to nearest, ties to even; |error| <= 2^-8·|x|.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "../core/stored_matrix.hpp"
#include "../safetensors/float16.hpp"

namespace preheat::storage {

class bf16_rows {
 public:
  // Errors: invalid_argument for an entry that is not finite, or is beyond bfloat16's largest.
  explicit bf16_rows(const stored_matrix& W) : rows_(W.rows()), cols_(W.cols()) {
    bits_.reserve(std::size_t(rows_ * cols_));
    std::vector<float> row(static_cast<std::size_t>(cols_));
    for (index_t i = 0; i < rows_; ++i) {
      W.unpack(i, 0, cols_, row.data());
      for (const float x : row) {
        bits_.push_back(safetensors::round_to<safetensors::bfloat16>(x));
        require((bits_.back().bits & 0x7F80) != 0x7F80, "bf16: entries are finite in bfloat16");
      }
    }
  }

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  std::size_t bytes() const { return bits_.size() * sizeof(safetensors::bfloat16); }
  std::string type_name() const { return "BF16"; }
  void unpack(index_t row, index_t begin, index_t end, float* to) const {
    const safetensors::bfloat16* const from = bits_.data() + row * cols_;
    for (index_t j = begin; j < end; ++j) {
      to[j - begin] = safetensors::to_float(from[j]);
    }
  }

 private:
  index_t rows_, cols_;
  std::vector<safetensors::bfloat16> bits_;
};

}  // namespace preheat::storage
