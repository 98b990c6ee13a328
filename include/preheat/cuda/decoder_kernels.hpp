// Causal softmax, RMS normalization and rotary positions of columns on a device: a group of threads for a column
// (launch_groups.hpp; nn/decoder_backend.hpp has the equations). Entries are of type X and numbers of type T (chunks.hpp).
#pragma once
#include <cmath>

#include "chunks.hpp"

namespace preheat::cuda_kernels {

// Column j, of query j mod period, over the rows begin, …, end − 1 that it sees, and 0 elsewhere.
template <class T, class X = T>
struct causal_softmax_column {
  index_t shift;
  index_t nearest;  // the window: how many rows at most
  index_t period;
  window<X> x;
  bool packed;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    const index_t end = j % period + shift + 1;
    const index_t begin = end > nearest ? end - nearest : 0;
    const index_t first = begin - begin % chunk_size<X> + first_chunk<X>(group);
    T top = T(x(begin, j));
    for (index_t i = first; i < end; i += chunk_step<X>(group)) {
      const auto a = read<T>(x, i, j, packed);
      for (index_t k = 0; k < chunk_size<X>; ++k) {
        top = begin <= i + k && i + k < end && a.at[k] > top ? a.at[k] : top;
      }
    }
    top = group.max(top);
    T sum = 0;
    for (index_t i = first; i < end; i += chunk_step<X>(group)) {
      const auto a = read<T>(x, i, j, packed);
      for (index_t k = 0; k < chunk_size<X>; ++k) {
        sum += begin <= i + k && i + k < end ? std::exp(a.at[k] - top) : T(0);
      }
    }
    sum = group.sum(sum);
    for (index_t i = first_chunk<X>(group); i < x.rows; i += chunk_step<X>(group)) {
      auto a = read<T>(x, i, j, packed);
      for (index_t k = 0; k < chunk_size<X>; ++k) {
        a.at[k] = begin <= i + k && i + k < end ? std::exp(a.at[k] - top) / sum : T(0);
      }
      write(a, x, i, j, packed);
    }
  }
};

// Column j of the norm; `squares` is the sum of those of the entries of x that this thread has seen.
template <class Group, class T, class In, class X>
constexpr void put_rms_norm(const Group& group, index_t j, T squares, T epsilon, const T* gamma,
                            window<In> x, T* inverse_sizes, window<X> y, bool packed) {
  const T inverse = 1 / std::sqrt(group.sum(squares) / T(x.rows) + epsilon);
  for (index_t i = first_chunk<X>(group); i < x.rows; i += chunk_step<X>(group)) {
    auto a = read<T>(x, i, j, packed);
    const auto g = read_vector<chunk_size<X>>(gamma, i, x.rows, packed);
    for (index_t k = 0; k < chunk_size<X>; ++k) {
      a.at[k] = g.at[k] * (inverse * a.at[k]);
    }
    write(a, y, i, j, packed);
  }
  if (group.rank() == 0) {
    inverse_sizes[j] = inverse;
  }
}

template <class T, class X = T>
struct rms_norm_column {
  T epsilon;
  const T* gamma;
  window<const X> x;
  T* inverse_sizes;
  window<X> y;
  bool packed;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    T squares = 0;
    for (index_t i = first_chunk<X>(group); i < x.rows; i += chunk_step<X>(group)) {
      const auto a = read<T>(x, i, j, packed);
      for (index_t k = 0; k < chunk_size<X>; ++k) {
        squares += a.at[k] * a.at[k];
      }
    }
    put_rms_norm(group, j, squares, epsilon, gamma, x, inverse_sizes, y, packed);
  }
};

// The same of x + a, which x becomes; the norm is that of the sum as it is stored.
template <class T, class X = T>
struct add_rms_norm_column {
  T epsilon;
  const T* gamma;
  window<const X> a;
  window<X> x;
  T* inverse_sizes;
  window<X> y;
  bool packed;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    T squares = 0;
    for (index_t i = first_chunk<X>(group); i < x.rows; i += chunk_step<X>(group)) {
      const auto term = read<T>(a, i, j, packed);
      auto sum = read<T>(x, i, j, packed);
      for (index_t k = 0; k < chunk_size<X>; ++k) {
        sum.at[k] = T(X(sum.at[k] + term.at[k]));
        squares += sum.at[k] * sum.at[k];
      }
      write(sum, x, i, j, packed);
    }
    put_rms_norm(group, j, squares, epsilon, gamma, x, inverse_sizes, y, packed);
  }
};

template <class T, class X = T>
struct rms_norm_column_gradient {
  const T* gamma;
  window<const X> x;
  const T* inverse_sizes;
  window<const X> d;
  window<X> dx;
  window<X> y;  // without rows: not wanted
  bool packed;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    const T inverse = inverse_sizes[j];
    T products = 0;
    for (index_t i = first_chunk<X>(group); i < x.rows; i += chunk_step<X>(group)) {
      const auto at = read<T>(x, i, j, packed);
      const auto slope = read<T>(d, i, j, packed);
      const auto g = read_vector<chunk_size<X>>(gamma, i, x.rows, packed);
      for (index_t k = 0; k < chunk_size<X>; ++k) {
        products += g.at[k] * slope.at[k] * at.at[k];
      }
    }
    const T mean = inverse * inverse * (group.sum(products) / T(x.rows));
    for (index_t i = first_chunk<X>(group); i < x.rows; i += chunk_step<X>(group)) {
      auto at = read<T>(x, i, j, packed);
      const auto slope = read<T>(d, i, j, packed);
      const auto g = read_vector<chunk_size<X>>(gamma, i, x.rows, packed);
      auto sum = read<T>(dx, i, j, packed);
      for (index_t k = 0; k < chunk_size<X>; ++k) {
        sum.at[k] += inverse * (g.at[k] * slope.at[k] - at.at[k] * mean);
        at.at[k] = g.at[k] * (inverse * at.at[k]);
      }
      write(sum, dx, i, j, packed);
      if (y.rows > 0) {
        write(at, y, i, j, packed);
      }
    }
  }
};

// The halves of every head of column j.
template <class T, class X = T>
struct turn_heads_of_column {
  T sign;
  window<const T> c;
  window<const T> s;
  window<X> x;
  bool packed;  // of half a head too
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    const index_t half = c.rows;
    if (packed) {
      turn_chunks(group, j);
      return;
    }
    for (index_t k = group.rank(); k < x.rows / 2; k += group.size()) {
      const index_t i = k % half;
      X& first = x(2 * (k - i) + i, j);
      X& second = x(2 * (k - i) + i + half, j);
      const T a = T(first);
      const T b = T(second);
      const T cosine = c(i, j);
      const T sine = sign * s(i, j);
      first = X(a * cosine - b * sine);
      second = X(b * cosine + a * sine);
    }
  }
  template <class Group>
  constexpr void turn_chunks(const Group& group, index_t j) const {
    constexpr index_t n = chunk_size<X>;
    const index_t half = c.rows;
    for (index_t k = first_chunk<X>(group); k < x.rows / 2; k += chunk_step<X>(group)) {
      const index_t i = k % half;
      const index_t row = 2 * (k - i) + i;
      auto a = read<T>(x, row, j, packed);
      auto b = read<T>(x, row + half, j, packed);
      const auto cosine = read_vector<n>(c.data + j * c.ld, i, half, packed);
      const auto sine = read_vector<n>(s.data + j * s.ld, i, half, packed);
      for (index_t e = 0; e < n; ++e) {
        const T turned = a.at[e] * cosine.at[e] - b.at[e] * (sign * sine.at[e]);
        b.at[e] = b.at[e] * cosine.at[e] + a.at[e] * (sign * sine.at[e]);
        a.at[e] = turned;
      }
      write(a, x, row, j, packed);
      write(b, x, row + half, j, packed);
    }
  }
};

}  // namespace preheat::cuda_kernels
