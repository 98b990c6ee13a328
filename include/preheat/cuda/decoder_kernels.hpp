// Causal softmax and RMS normalization of columns on a device: a group of threads for a column (launch_groups.hpp;
// nn/decoder_backend.hpp has the equations).
#pragma once
#include <cmath>

#include "kernels.hpp"

namespace preheat::cuda_kernels {

// Column j, of query j mod period, over the rows begin, …, end − 1 that it sees, and 0 elsewhere.
template <class T>
struct causal_softmax_column {
  index_t shift;
  index_t nearest;  // the window: how many rows at most
  index_t period;
  window<T> x;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    T* const column = &x(0, j);
    const index_t end = j % period + shift + 1;
    const index_t begin = end > nearest ? end - nearest : 0;
    T top = column[begin];
    for (index_t i = begin + group.rank(); i < end; i += group.size()) {
      top = column[i] > top ? column[i] : top;
    }
    top = group.max(top);
    T sum = 0;
    for (index_t i = begin + group.rank(); i < end; i += group.size()) {
      sum += std::exp(column[i] - top);
    }
    sum = group.sum(sum);
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      column[i] = begin <= i && i < end ? std::exp(column[i] - top) / sum : T(0);
    }
  }
};

// Column j of the norm; `squares` is the sum of those of the entries of x that this thread has seen.
template <class Group, class T, class X>
constexpr void put_rms_norm(const Group& group, index_t j, T squares, T epsilon, const T* gamma,
                            window<X> x, T* inverse_sizes, window<T> y) {
  const T inverse = 1 / std::sqrt(group.sum(squares) / T(x.rows) + epsilon);
  for (index_t i = group.rank(); i < x.rows; i += group.size()) {
    y(i, j) = gamma[i] * (inverse * x(i, j));
  }
  if (group.rank() == 0) {
    inverse_sizes[j] = inverse;
  }
}

template <class T>
struct rms_norm_column {
  T epsilon;
  const T* gamma;
  window<const T> x;
  T* inverse_sizes;
  window<T> y;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    T squares = 0;
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      squares += x(i, j) * x(i, j);
    }
    put_rms_norm(group, j, squares, epsilon, gamma, x, inverse_sizes, y);
  }
};

// The same of x + a, which x becomes.
template <class T>
struct add_rms_norm_column {
  T epsilon;
  const T* gamma;
  window<const T> a;
  window<T> x;
  T* inverse_sizes;
  window<T> y;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    T squares = 0;
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      x(i, j) += a(i, j);
      squares += x(i, j) * x(i, j);
    }
    put_rms_norm(group, j, squares, epsilon, gamma, x, inverse_sizes, y);
  }
};

template <class T>
struct rms_norm_column_gradient {
  const T* gamma;
  window<const T> x;
  const T* inverse_sizes;
  window<const T> d;
  window<T> dx;
  window<T> y;  // without rows: not wanted
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    const T inverse = inverse_sizes[j];
    T products = 0;
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      products += gamma[i] * d(i, j) * x(i, j);
    }
    const T slope = inverse * inverse * (group.sum(products) / T(x.rows));
    for (index_t i = group.rank(); i < x.rows; i += group.size()) {
      dx(i, j) += inverse * (gamma[i] * d(i, j) - x(i, j) * slope);
      if (y.rows > 0) {
        y(i, j) = gamma[i] * (inverse * x(i, j));
      }
    }
  }
};

// The halves of every head of column j.
template <class T>
struct turn_heads_of_column {
  T sign;
  window<const T> c;
  window<const T> s;
  window<T> x;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    const index_t half = c.rows;
    for (index_t k = group.rank(); k < x.rows / 2; k += group.size()) {
      const index_t i = k % half;
      T& a = x(2 * (k - i) + i, j);
      T& b = x(2 * (k - i) + i + half, j);
      const T sine = sign * s(i, j);
      const T turned = a * c(i, j) - b * sine;
      b = b * c(i, j) + a * sine;
      a = turned;
    }
  }
};

}  // namespace preheat::cuda_kernels
