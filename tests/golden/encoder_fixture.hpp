// What the fixtures of encoders share: padded ids and masks as a batch without padding, and tensors
// [sequences, length, features] as the columns of the tokens that are no padding.
#pragma once
#include <preheat/cpu/backend.hpp>
#include <preheat/nn/token_batch.hpp>
#include <type_traits>

#include "fixtures.hpp"

namespace golden {

// How far outputs and gradients of a network may be from those in double, relative to a tensor's largest
// entry.
template <class T>
inline constexpr double output_rtol = std::is_same_v<T, double> ? 1e-10 : 1e-4;
template <class T>
inline constexpr double gradient_rtol = std::is_same_v<T, double> ? 1e-10 : 1e-3;

template <class T>
using token_batch = preheat::nn::token_batch<preheat::cpu<T>>;

inline std::vector<index_t> whole_numbers(const fixture& file, const std::string& tensor) {
  const std::vector<double> values = file.entries(tensor);
  return {values.begin(), values.end()};
}

// `types` may be empty.
template <class T>
token_batch<T> padded_batch(const fixture& file, const std::string& ids, const std::string& mask,
                            const std::string& types = "") {
  const std::vector<index_t> type_numbers =
      types.empty() ? std::vector<index_t>{} : whole_numbers(file, types);
  token_batch<T> batch;
  preheat::nn::pack<preheat::cpu<T>>(whole_numbers(file, ids), type_numbers,
                                     whole_numbers(file, mask), file.count(ids), batch);
  return batch;
}

// Labels as a 1 × sequences row.
template <class T>
preheat::cpu_matrix<T> label_row(const fixture& file) {
  return {file.matrix("labels").transpose()};
}

// Of a tensor [sequences, length, features], features × the tokens of a batch without padding.
template <class Batch>
dense tokens_of(const fixture& file, const std::string& tensor, const Batch& batch) {
  const std::vector<index_t> shape = file.shape(tensor);
  REQUIRE(shape.size() == 3);
  const std::vector<double> values = file.entries(tensor);
  dense columns(shape[2], batch.tokens());
  index_t to = 0;
  for (std::size_t s = 0; s < batch.lengths.size(); ++s) {
    for (index_t t = 0; t < batch.lengths[s]; ++t) {
      const double* const from = values.data() + (index_t(s) * shape[1] + t) * shape[2];
      columns.col(to++) = Eigen::Map<const Eigen::VectorXd>(from, shape[2]);
    }
  }
  return columns;
}

// Of a tensor [sequences, heads, length, length], one head of one sequence without its padding:
// keys × queries.
template <class T>
dense attention_of(const fixture& file, const std::string& tensor, const token_batch<T>& batch,
                   index_t sequence, index_t head) {
  const std::vector<index_t> shape = file.shape(tensor);
  REQUIRE(shape.size() == 4);
  const std::vector<double> values = file.entries(tensor);
  const index_t length = shape[3];
  const double* const from = values.data() + (sequence * shape[1] + head) * length * length;
  const index_t n = batch.lengths[sequence];
  return Eigen::Map<const dense>(from, length, length).topLeftCorner(n, n);
}

}  // namespace golden
