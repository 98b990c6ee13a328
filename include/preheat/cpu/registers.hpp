// The vector types of GCC and clang for each width of a register, and their square roots.
#pragma once
#include <cmath>
#include <cstdint>
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

}  // namespace preheat::detail
