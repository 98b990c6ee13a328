// Softmax and layer normalization of columns on a device, one thread per column
// (nn/encoder_backend.hpp has the equations).
#pragma once
#include <cmath>

#include "kernels.hpp"

namespace preheat::cuda_kernels {

template <class T>
struct softmax_column {
  window<T> x;
  constexpr void operator()(index_t j) const {
    T top = x(0, j);
    for (index_t i = 1; i < x.rows; ++i) {
      top = x(i, j) > top ? x(i, j) : top;
    }
    T sum = 0;
    for (index_t i = 0; i < x.rows; ++i) {
      x(i, j) = std::exp(x(i, j) - top);
      sum += x(i, j);
    }
    for (index_t i = 0; i < x.rows; ++i) {
      x(i, j) /= sum;
    }
  }
};

template <class T>
struct softmax_column_gradient {
  window<const T> p;
  window<T> d;
  constexpr void operator()(index_t j) const {
    T mean = 0;
    for (index_t i = 0; i < d.rows; ++i) {
      mean += p(i, j) * d(i, j);
    }
    for (index_t i = 0; i < d.rows; ++i) {
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
  constexpr void operator()(index_t j) const {
    T mean = 0;
    for (index_t i = 0; i < x.rows; ++i) {
      mean += x(i, j);
    }
    mean /= T(x.rows);
    T variance = 0;
    for (index_t i = 0; i < x.rows; ++i) {
      x(i, j) -= mean;
      variance += x(i, j) * x(i, j);
    }
    const T inverse = 1 / std::sqrt(variance / T(x.rows) + epsilon);
    inverse_deviations[j] = inverse;
    for (index_t i = 0; i < x.rows; ++i) {
      x(i, j) *= inverse;
      y(i, j) = gamma[i] * x(i, j) + beta[i];
    }
  }
};

template <class T>
struct layer_norm_column_gradient {
  const T* gamma;
  window<const T> x;
  const T* inverse_deviations;
  window<T> d;
  constexpr void operator()(index_t j) const {
    T mean = 0;
    T slope = 0;
    for (index_t i = 0; i < d.rows; ++i) {
      d(i, j) *= gamma[i];
      mean += d(i, j);
      slope += d(i, j) * x(i, j);
    }
    mean /= T(d.rows);
    slope /= T(d.rows);
    for (index_t i = 0; i < d.rows; ++i) {
      d(i, j) = inverse_deviations[j] * (d(i, j) - mean - x(i, j) * slope);
    }
  }
};

}  // namespace preheat::cuda_kernels
