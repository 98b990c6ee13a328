// Stored matrices for tests: the rows of a table as floats, and the weights of a network kept so.
#pragma once
#include <algorithm>
#include <memory>
#include <preheat/core/frozen_weight.hpp>
#include <preheat/storage/keep.hpp>
#include <string>
#include <vector>

#include "table.hpp"

namespace conformance {

class float_rows {
 public:
  explicit float_rows(const table& W) : rows_(W.rows), cols_(W.cols) {
    for (index_t i = 0; i < rows_; ++i) {
      for (index_t j = 0; j < cols_; ++j) {
        values_.push_back(float(W(i, j)));
      }
    }
  }
  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  std::size_t bytes() const { return values_.size() * sizeof(float); }
  std::string type_name() const { return "F32"; }
  void unpack(index_t row, index_t begin, index_t end, float* to) const {
    std::copy(values_.begin() + row * cols_ + begin, values_.begin() + row * cols_ + end, to);
  }

 private:
  index_t rows_, cols_;
  std::vector<float> values_;
};
inline preheat::stored_matrix stored(const table& W) {
  return preheat::stored_matrix(std::make_shared<const float_rows>(W));
}

// What a stored matrix unpacks to.
inline table unpacked(const preheat::stored_matrix& W) {
  table t(W.rows(), W.cols());
  std::vector<float> row(static_cast<std::size_t>(W.cols()));
  for (index_t i = 0; i < W.rows(); ++i) {
    W.unpack(i, 0, W.cols(), row.data());
    for (index_t j = 0; j < W.cols(); ++j) {
      t(i, j) = double(row[std::size_t(j)]);
    }
  }
  return t;
}

// A table whose entries are floats, as those of a file are.
inline table float_table(index_t m, index_t n, std::uint64_t seed) {
  return unpacked(stored(random_table(m, n, seed)));
}

// The same model twice: its embedding and linear layers kept in this type, and dense with the same numbers.
template <class Weights>
struct kept_twice {
  Weights kept, dense;
};
template <class Be, class Make>
auto keep_twice(Be& be, preheat::weight_storage keep, Make make) {
  kept_twice<decltype(make())> both{make(), make()};
  for (std::size_t l = 0; l < both.kept.layers.size(); ++l) {
    auto& layer = both.kept.layers[l];
    layer.W = preheat::storage::kept_as(keep, stored(read<Be>(be, layer.W)));
    both.dense.layers[l].W = matrix(be, unpacked(layer.W.stored()));
  }
  auto& frozen = both.kept.frozen;
  frozen.word_rows =
      preheat::storage::kept_as(keep, stored(transposed(read<Be>(be, frozen.words))));
  frozen.words = {};
  both.dense.frozen.words = matrix(be, transposed(unpacked(frozen.word_rows)));
  return both;
}

}  // namespace conformance
