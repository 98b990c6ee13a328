// How a group of threads reads and writes the columns of a matrix: a thread takes 16 bytes at once, 8 entries of two
// bytes or 4 floats, and computes with them as numbers of T.
//
//   for (index_t i = first_chunk<X>(group); i < x.rows; i += chunk_step<X>(group)) {
//     const auto a = read<T>(x, i, j, packed);
//     …                                          // a.at[0], …: entries i, i + 1, … of column j; 0 beyond the last one
//     write(a, x, i, j, packed);                 // those that are in the column
//   }
//
// `packed` says that all columns begin at multiples of 16 bytes (columns_are_packed); otherwise entries are
// moved one by one.
#pragma once
#include <cstdint>

#include "elementwise.hpp"

namespace preheat::cuda_kernels {

template <class X>
inline constexpr index_t chunk_size = sizeof(X) >= 16 ? 1 : index_t(16 / sizeof(X));

template <class T, index_t N>
struct numbers {
  T at[N];
};

template <class X, class Group>
constexpr index_t first_chunk(const Group& group) {
  return group.rank() * chunk_size<X>;
}
template <class X, class Group>
constexpr index_t chunk_step(const Group& group) {
  return group.size() * chunk_size<X>;
}

template <class T, class X>
constexpr numbers<T, chunk_size<X>> read(const window<X>& x, index_t i, index_t j, bool packed) {
  constexpr index_t n = chunk_size<X>;
  using entry = std::remove_const_t<X>;
  const X* const from = x.data + i + j * x.ld;
  numbers<T, n> result{};
  if (packed && i + n <= x.rows) {
    const pack<entry, n> values = *reinterpret_cast<const pack<entry, n>*>(from);
    for (index_t k = 0; k < n; ++k) {
      result.at[k] = T(values.values[k]);
    }
  } else {
    for (index_t k = 0; k < n && i + k < x.rows; ++k) {
      result.at[k] = T(from[k]);
    }
  }
  return result;
}

// Entries i, …, i + N − 1 of a vector of so many rows.
template <index_t N, class T>
constexpr numbers<T, N> read_vector(const T* v, index_t i, index_t rows, bool packed) {
  constexpr index_t n = chunk_size<T>;
  numbers<T, N> result{};
  if (packed && N % n == 0 && i + N <= rows) {
    for (index_t first = 0; first < N; first += n) {
      const pack<T, n> values = *reinterpret_cast<const pack<T, n>*>(v + i + first);
      for (index_t k = 0; k < n; ++k) {
        result.at[first + k] = values.values[k];
      }
    }
  } else {
    for (index_t k = 0; k < N && i + k < rows; ++k) {
      result.at[k] = v[i + k];
    }
  }
  return result;
}

template <class T, class X>
constexpr void write(const numbers<T, chunk_size<X>>& values, const window<X>& x, index_t i,
                     index_t j, bool packed) {
  constexpr index_t n = chunk_size<X>;
  X* const to = x.data + i + j * x.ld;
  if (packed && i + n <= x.rows) {
    pack<X, n> rounded{};
    for (index_t k = 0; k < n; ++k) {
      rounded.values[k] = X(values.at[k]);
    }
    *reinterpret_cast<pack<X, n>*>(to) = rounded;
  } else {
    for (index_t k = 0; k < n && i + k < x.rows; ++k) {
      to[k] = X(values.at[k]);
    }
  }
}

}  // namespace preheat::cuda_kernels

namespace preheat::detail {
// Whether columns of all of these begin at multiples of 16 bytes.
template <class... Xs>
bool columns_are_packed(view<Xs>... all) {
  const auto packed = [](const void* data, std::size_t step) {
    return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && step % 16 == 0;
  };
  return (packed(all.data(), std::size_t(all.ld()) * sizeof(Xs)) && ...);
}
}  // namespace preheat::detail
