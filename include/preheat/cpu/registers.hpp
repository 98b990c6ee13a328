// The vector types of GCC and clang for each width of a register, and what these compilers have no
// operator for: square roots, the first few numbers of a register, and its numbers in another place.
#pragma once
#include <cmath>
#include <cstdint>
#include <utility>
#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>  // a tenth of immintrin.h, which costs half a second and 100 MB
#endif

namespace preheat::detail {

// A register of so many bytes, as numbers and as integers of the same size.
template <class T, int Bytes>
struct registers;
#define PREHEAT_REGISTERS(T, INTEGER, BYTES)                          \
  template <>                                                         \
  struct registers<T, BYTES> {                                        \
    typedef T numbers __attribute__((vector_size(BYTES), may_alias)); \
    typedef INTEGER integers __attribute__((vector_size(BYTES)));     \
  }
PREHEAT_REGISTERS(float, std::int32_t, 16);
PREHEAT_REGISTERS(float, std::int32_t, 32);
PREHEAT_REGISTERS(float, std::int32_t, 64);
PREHEAT_REGISTERS(double, std::int64_t, 16);
PREHEAT_REGISTERS(double, std::int64_t, 32);
PREHEAT_REGISTERS(double, std::int64_t, 64);
#undef PREHEAT_REGISTERS

// The square root of each number, correctly rounded. std::sqrt would be called for each: it sets
// errno.
template <int Bytes, class Numbers>
[[gnu::always_inline]] inline Numbers square_roots(Numbers x) {
  constexpr bool in_float = sizeof(x[0]) == sizeof(float);
#if defined(__AVX512F__)
  if constexpr (Bytes == 64 && in_float) {
    return _mm512_maskz_sqrt_ps(__mmask16(-1), x);
  } else if constexpr (Bytes == 64) {
    return _mm512_maskz_sqrt_pd(__mmask8(-1), x);
  }
#endif
#if defined(__AVX__)
  if constexpr (Bytes == 32 && in_float) {
    return _mm256_sqrt_ps(x);
  } else if constexpr (Bytes == 32) {
    return _mm256_sqrt_pd(x);
  }
#endif
#if defined(__SSE2__)
  if constexpr (Bytes == 16 && in_float) {
    return _mm_sqrt_ps(x);
  } else if constexpr (Bytes == 16) {
    return _mm_sqrt_pd(x);
  }
#else
  for (int i = 0; i < Bytes / int(sizeof(x[0])); ++i) {
    x[i] = std::sqrt(x[i]);
  }
  return x;
#endif
}

// `count` numbers from memory, fewer than a register holds; the others are `rest`.
template <int Bytes, class T, class Numbers = typename registers<T, Bytes>::numbers>
[[gnu::always_inline]] inline Numbers load_first(const T* from, long count, T rest) {
#if defined(__AVX512F__)
  if constexpr (Bytes == 64 && sizeof(T) == sizeof(float)) {
    return _mm512_mask_loadu_ps(_mm512_set1_ps(rest), __mmask16((1U << count) - 1), from);
  } else if constexpr (Bytes == 64) {
    return _mm512_mask_loadu_pd(_mm512_set1_pd(rest), __mmask8((1U << count) - 1), from);
  }
#endif
  T lanes[Bytes / sizeof(T)];
  for (long i = 0; i < long(Bytes / sizeof(T)); ++i) {
    lanes[i] = i < count ? from[i] : rest;
  }
  Numbers x;
  __builtin_memcpy(&x, lanes, Bytes);
  return x;
}
template <int Bytes, class T, class Numbers>
[[gnu::always_inline]] inline void store_first(Numbers x, T* to, long count) {
#if defined(__AVX512F__)
  if constexpr (Bytes == 64 && sizeof(T) == sizeof(float)) {
    return _mm512_mask_storeu_ps(to, __mmask16((1U << count) - 1), x);
  } else if constexpr (Bytes == 64) {
    return _mm512_mask_storeu_pd(to, __mmask8((1U << count) - 1), x);
  }
#endif
  T lanes[Bytes / sizeof(T)];
  __builtin_memcpy(lanes, &x, Bytes);
  for (long i = 0; i < count; ++i) {
    to[i] = lanes[i];
  }
}

// Number i becomes number i + By, and the first ones follow the last.
template <int By, class Integers, class Numbers, int... I>
[[gnu::always_inline]] inline Numbers rotated(Numbers x, std::integer_sequence<int, I...>) {
  constexpr int size = int(sizeof...(I));
#if defined(__clang__)
  return __builtin_shufflevector(x, x, (I + By) % size...);
#else
  return __builtin_shuffle(x, Integers{(I + By) % size...});
#endif
}

}  // namespace preheat::detail
