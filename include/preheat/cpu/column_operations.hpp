// What the CPU backend does to whole columns, in packets: vectors against matrices, reductions,
// softmax and normalization (core/backend.hpp, nn/encoder_backend.hpp and nn/decoder_backend.hpp say
// what they compute). Each column is read from memory once: the passes over it stay in cache.
#pragma once
#include "../core/types.hpp"

namespace preheat {

// Columns in memory: so many of a length, `step` numbers from one to the next.
template <class T>
struct columns_of {
  T* data;
  index_t length;
  index_t count;
  index_t step;
};

template <class T, class Isa>
class packet;
template <class T, class Isa>
struct packed_column;

// The operations, by the code of one instruction set (Isa); shapes fit. column_operations_members.hpp
// has the definitions, and preheat::kernels has them compiled.
template <class T, class Isa>
struct column_operations {
  static void fill(T value, columns_of<T> x);
  static void scale_rows(const T* d, columns_of<T> x);
  static void scale_cols(const T* d, columns_of<T> x);
  static void add_to_cols(const T* b, columns_of<T> x);
  static void add_row_sums(T s, columns_of<const T> a, T* x);
  static void add_row_dots(T s, columns_of<const T> a, columns_of<const T> b, T* x);
  static T dot(columns_of<const T> a, columns_of<const T> b);
  static T max_abs(columns_of<const T> a);

  // No column is empty.
  static void softmax(columns_of<T> x, T* log_sums);  // log Σ exp(x) of each column; may be null
  static void softmax_gradient(columns_of<const T> p, columns_of<T> d);
  static void softmax_causal(index_t shift, index_t window, columns_of<T> x);
  static void layer_norm(T epsilon, const T* gamma, const T* beta, columns_of<T> x, T* r,
                         columns_of<T> y);
  static void layer_norm_gradient(const T* gamma, columns_of<const T> x, const T* r,
                                  columns_of<T> d);
  static void rms_norm(T epsilon, const T* gamma, columns_of<const T> x, T* r, columns_of<T> y);
  static void rms_norm_gradient(const T* gamma, columns_of<const T> x, const T* r,
                                columns_of<const T> d, columns_of<T> dx);

 private:
  using V = packet<T, Isa>;
  using column = packed_column<T, Isa>;
  using constant_column = packed_column<const T, Isa>;
};

}  // namespace preheat
