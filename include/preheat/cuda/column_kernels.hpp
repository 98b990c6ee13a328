// Softmax and layer normalization of columns on a device, and the loss of a classifier: a group of threads for
// a column (launch_groups.hpp; nn/encoder_backend.hpp has the equations). The loops read a column several
// times, which the first of them has brought into the cache, and write it once.
#pragma once
#include <cmath>
#include <limits>

#include "kernels.hpp"

namespace preheat::cuda_kernels {

template <class T>
struct softmax_column {
  window<T> x;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    T* const column = &x(0, j);
    T top = column[0];
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      top = column[i] > top ? column[i] : top;
    }
    top = group.max(top);
    T sum = 0;
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      sum += std::exp(column[i] - top);
    }
    sum = group.sum(sum);
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      column[i] = std::exp(column[i] - top) / sum;
    }
  }
};

template <class T>
struct softmax_column_gradient {
  window<const T> p;
  window<T> d;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    T mean = 0;
    for (index_t i = group.rank(); i < d.rows; i += group.size()) {
      mean += p(i, j) * d(i, j);
    }
    mean = group.sum(mean);
    for (index_t i = group.rank(); i < d.rows; i += group.size()) {
      d(i, j) = p(i, j) * (d(i, j) - mean);
    }
  }
};

template <class T>
struct layer_norm_column {
  T epsilon;
  const T* gamma;
  const T* beta;
  window<T> x;
  T* inverse_deviations;
  window<T> y;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    T mean = 0;
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      mean += x(i, j);
    }
    mean = group.sum(mean) / T(x.rows);
    T variance = 0;
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      variance += (x(i, j) - mean) * (x(i, j) - mean);
    }
    const T inverse = 1 / std::sqrt(group.sum(variance) / T(x.rows) + epsilon);
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      const T normalized = (x(i, j) - mean) * inverse;
      x(i, j) = normalized;
      y(i, j) = gamma[i] * normalized + beta[i];
    }
    if (group.rank() == 0) {
      inverse_deviations[j] = inverse;
    }
  }
};

template <class T>
struct layer_norm_column_gradient {
  const T* gamma;
  window<const T> x;
  const T* inverse_deviations;
  window<T> d;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    T mean = 0;
    T slope = 0;
    for (index_t i = group.rank(); i < d.rows; i += group.size()) {
      const T g = gamma[i] * d(i, j);
      mean += g;
      slope += g * x(i, j);
    }
    mean = group.sum(mean) / T(d.rows);
    slope = group.sum(slope) / T(d.rows);
    for (index_t i = group.rank(); i < d.rows; i += group.size()) {
      d(i, j) = inverse_deviations[j] * (gamma[i] * d(i, j) - mean - x(i, j) * slope);
    }
  }
};

// The loss of token j, −weight·log softmax(z_j)[label_j], and its gradient, which may be where z is. NaN if
// the label is not a class.
template <class T>
struct softmax_cross_entropy {
  window<const T> z;
  window<const T> labels;
  window<T> d;
  T weight;
  T* losses;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    const index_t classes = z.rows;
    const T given = labels(0, j);
    const index_t label = given >= 0 && given < T(classes) ? index_t(given) : 0;
    const T at_label = z(label, j);
    T top = z(0, j);
    for (index_t i = group.rank(); i < classes; i += group.size()) {
      top = z(i, j) > top ? z(i, j) : top;
    }
    top = group.max(top);
    T sum = 0;
    for (index_t i = group.rank(); i < classes; i += group.size()) {
      sum += std::exp(z(i, j) - top);
    }
    sum = group.sum(sum);
    for (index_t i = group.rank(); i < classes; i += group.size()) {
      d(i, j) = std::exp(z(i, j) - top) * (weight / sum) - (i == label ? weight : T(0));
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
