// Softmax and layer normalization of columns on a device, and the loss of a classifier: a group of threads for
// a column (launch_groups.hpp; nn/encoder_backend.hpp has the equations). The loops read a column several
// times, which the first of them has brought into the cache, and write it once.
#pragma once
#include <cmath>
#include <limits>

#include "chunks.hpp"

namespace preheat::cuda_kernels {

template <class T, class X = T>
struct softmax_column {
  window<X> x;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    X* const column = &x(0, j);
    T top = T(column[0]);
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      top = T(column[i]) > top ? T(column[i]) : top;
    }
    top = group.max(top);
    T sum = 0;
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      sum += std::exp(T(column[i]) - top);
    }
    sum = group.sum(sum);
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      column[i] = X(std::exp(T(column[i]) - top) / sum);
    }
  }
};

template <class T, class X = T>
struct softmax_column_gradient {
  window<const X> p;
  window<X> d;
  bool packed;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    T mean = 0;
    for (index_t i = first_chunk<X>(group); i < d.rows; i += chunk_step<X>(group)) {
      const auto share = read<T>(p, i, j, packed);
      const auto slope = read<T>(d, i, j, packed);
      for (index_t k = 0; k < chunk_size<X>; ++k) {
        mean += share.at[k] * slope.at[k];
      }
    }
    mean = group.sum(mean);
    for (index_t i = first_chunk<X>(group); i < d.rows; i += chunk_step<X>(group)) {
      const auto share = read<T>(p, i, j, packed);
      auto slope = read<T>(d, i, j, packed);
      for (index_t k = 0; k < chunk_size<X>; ++k) {
        slope.at[k] = share.at[k] * (slope.at[k] - mean);
      }
      write(slope, d, i, j, packed);
    }
  }
};

template <class T, class X = T>
struct layer_norm_column {
  T epsilon;
  const T* gamma;
  const T* beta;
  window<X> x;
  T* inverse_deviations;
  window<X> y;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    T mean = 0;
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      mean += T(x(i, j));
    }
    mean = group.sum(mean) / T(x.rows);
    T variance = 0;
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      variance += (T(x(i, j)) - mean) * (T(x(i, j)) - mean);
    }
    const T inverse = 1 / std::sqrt(group.sum(variance) / T(x.rows) + epsilon);
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      const T normalized = (T(x(i, j)) - mean) * inverse;
      x(i, j) = X(normalized);
      y(i, j) = X(gamma[i] * normalized + beta[i]);
    }
    if (group.rank() == 0) {
      inverse_deviations[j] = inverse;
    }
  }
};

template <class T, class X = T>
struct layer_norm_column_gradient {
  const T* gamma;
  window<const X> x;
  const T* inverse_deviations;
  window<X> d;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    T mean = 0;
    T slope = 0;
    for (index_t i = group.rank(); i < d.rows; i += group.size()) {
      const T g = gamma[i] * T(d(i, j));
      mean += g;
      slope += g * T(x(i, j));
    }
    mean = group.sum(mean) / T(d.rows);
    slope = group.sum(slope) / T(d.rows);
    for (index_t i = group.rank(); i < d.rows; i += group.size()) {
      d(i, j) = X(inverse_deviations[j] * (gamma[i] * T(d(i, j)) - mean - T(x(i, j)) * slope));
    }
  }
};

// The loss of token j, −weight·log softmax(z_j)[label_j], and its gradient, which may be where z is. NaN if
// the label is not a class.
template <class T, class X = T>
struct softmax_cross_entropy {
  window<const X> z;
  window<const T> labels;
  window<X> d;
  T weight;
  T* losses;
  bool packed;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    const index_t classes = z.rows;
    const T given = labels(0, j);
    const index_t label = given >= 0 && given < T(classes) ? index_t(given) : 0;
    const T at_label = T(z(label, j));
    // Σ exp(z − top) with the largest z so far, in one pass over the column.
    T largest = T(z(0, j));
    T sum = 0;
    for (index_t i = first_chunk<X>(group); i < classes; i += chunk_step<X>(group)) {
      const auto a = read<T>(z, i, j, packed);
      const T before = largest;
      for (index_t k = 0; k < chunk_size<X>; ++k) {
        largest = i + k < classes && a.at[k] > largest ? a.at[k] : largest;
      }
      sum *= std::exp(before - largest);
      for (index_t k = 0; k < chunk_size<X>; ++k) {
        sum += i + k < classes ? std::exp(a.at[k] - largest) : T(0);
      }
    }
    const T top = group.max(largest);
    sum = group.sum(sum * std::exp(largest - top));
    for (index_t i = first_chunk<X>(group); i < classes; i += chunk_step<X>(group)) {
      auto a = read<T>(z, i, j, packed);
      for (index_t k = 0; k < chunk_size<X>; ++k) {
        a.at[k] = std::exp(a.at[k] - top) * (weight / sum) - (i + k == label ? weight : T(0));
      }
      write(a, d, i, j, packed);
    }
    if (group.rank() == 0) {
      const bool valid = T(label) == given;
      losses[j] =
          valid ? weight * (std::log(sum) + top - at_label) : std::numeric_limits<T>::quiet_NaN();
    }
  }
};

// x_j = table_{ids_j}
template <class T>
struct gather_column {
  window<const T> table;
  const index_t* ids;
  window<T> x;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    const index_t from = ids[j];
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      x(i, j) = table(i, from);
    }
  }
};

}  // namespace preheat::cuda_kernels
