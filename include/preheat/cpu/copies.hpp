// Copies between views on the host, in plain loops: every program compiles some of them, and an Eigen
// expression for each would cost it a tenth of a second.
#pragma once
#include <algorithm>

#include "matrix.hpp"

namespace preheat {

// x = a. Numbers may be of another precision.
template <class From, class T>
void copy_columns(view<const From> a, view<T> x) {
  for (index_t j = 0; j < x.cols(); ++j) {
    const From* const from = a.data() + j * a.ld();
    std::copy(from, from + x.rows(), x.data() + j * x.ld());
  }
}

// x = aᵀ, in tiles: each line of cache is used whole.
template <class T>
void copy_transposed(view<const T> a, view<T> x) {
  constexpr index_t tile = 16;
  for (index_t j = 0; j < x.cols(); j += tile) {
    for (index_t i = 0; i < x.rows(); i += tile) {
      const index_t j_end = std::min(j + tile, x.cols());
      const index_t i_end = std::min(i + tile, x.rows());
      for (index_t k = j; k < j_end; ++k) {
        for (index_t l = i; l < i_end; ++l) {
          x.data()[l + k * x.ld()] = a.data()[k + l * a.ld()];
        }
      }
    }
  }
}

// What lies below the diagonal of x becomes zero.
template <class T>
void clear_below_diagonal(view<T> x) {
  for (index_t j = 0; j < x.cols(); ++j) {
    for (index_t i = j + 1; i < x.rows(); ++i) {
      x.data()[i + j * x.ld()] = T(0);
    }
  }
}
// What lies below the diagonal of x becomes what lies above it: x is symmetric then.
template <class T>
void mirror_upper_triangle(view<T> x) {
  for (index_t j = 0; j < x.cols(); ++j) {
    for (index_t i = j + 1; i < x.rows(); ++i) {
      x.data()[i + j * x.ld()] = x.data()[j + i * x.ld()];
    }
  }
}

template <class T>
cpu_matrix<T> copy_of(view<const T> a) {
  cpu_matrix<T> M(a.rows(), a.cols());
  copy_columns(a, view<T>(M));
  return M;
}
template <class T>
cpu_matrix<T> transposed_copy_of(view<const T> a) {
  cpu_matrix<T> M(a.cols(), a.rows());
  copy_transposed(a, view<T>(M));
  return M;
}

}  // namespace preheat
