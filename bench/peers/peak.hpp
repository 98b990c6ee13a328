// The peak of one core: the most floating-point operations per second that it does on numbers in registers.
//
// A loop of multiply-adds reaches that peak only if no multiply-add waits for another one. A core that starts two of
// them in each cycle and needs five cycles for each (Haswell, Zen 2) is busy from ten independent sums on; newer cores
// need four cycles. So each loop below has twelve sums or more, and no more than there are registers. Each sum starts
// from another number; from equal numbers a compiler could compute one sum for all of them.
//
// Which instructions a loop uses is its own affair and not that of the compiler's flags: a program that was built for
// any processor of the family measures the same peak as one that was built for this very processor. Of the loops that
// the processor can run the fastest counts, because some processors do wide multiply-adds at half the rate.
#pragma once
#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "clocks.hpp"

namespace peers {

// The sums number `sum`... start here; every one of them then tends to 1.
inline float start_of_sum(float half, std::size_t sum) {
  return half + float(sum) / 64;
}

// In the packets for which this program was compiled. It is the only loop for processors without AVX2.
template <std::size_t... sum>
float multiply_add_packets(std::index_sequence<sum...>, float half, int rounds) {
  using packet = Eigen::internal::packet_traits<float>::type;
  const packet factor = Eigen::internal::pset1<packet>(half);
  packet sums[] = {Eigen::internal::pset1<packet>(start_of_sum(half, sum))...};
  for (int i = 0; i < rounds; ++i) {
    ((sums[sum] = Eigen::internal::pmadd(sums[sum], factor, factor)), ...);
  }
  return (Eigen::internal::predux(sums[sum]) + ...);
}

#if defined(__x86_64__)
template <std::size_t... sum>
__attribute__((target("avx2,fma"))) float multiply_add_avx2(std::index_sequence<sum...>, float half,
                                                            int rounds) {
  const __m256 factor = _mm256_set1_ps(half);
  __m256 sums[] = {_mm256_set1_ps(start_of_sum(half, sum))...};
  for (int i = 0; i < rounds; ++i) {
    ((sums[sum] = _mm256_fmadd_ps(sums[sum], factor, factor)), ...);
  }
  return (_mm256_cvtss_f32(sums[sum]) + ...);
}

template <std::size_t... sum>
__attribute__((target("avx512f"))) float multiply_add_avx512(std::index_sequence<sum...>,
                                                             float half, int rounds) {
  const __m512 factor = _mm512_set1_ps(half);
  __m512 sums[] = {_mm512_set1_ps(start_of_sum(half, sum))...};
  for (int i = 0; i < rounds; ++i) {
    ((sums[sum] = _mm512_fmadd_ps(sums[sum], factor, factor)), ...);
  }
  return (_mm512_cvtss_f32(sums[sum]) + ...);
}
#endif

struct measured_peak {
  double gflops = 0;
  std::string loop;  // the name of the loop that reached it
};

// Runs one loop several times and keeps the fastest; `width` numbers are in a register.
template <class Loop, std::size_t... sum>
void measure_loop(const char* name, std::size_t width, Loop loop, std::index_sequence<sum...> sums,
                  measured_peak& best) {
  constexpr int rounds = 2000000;
  volatile float half =
      0.5f;  // the compiler must not know the numbers, nor that the result is not used
  for (int trial = 0; trial < 9; ++trial) {
    const double begun = cpu_seconds();
    volatile float result = loop(sums, half, rounds);
    const double seconds = cpu_seconds() - begun;
    (void)result;
    const double gflops = 2e-9 * double(width) * double(sizeof...(sum)) * rounds / seconds;
    if (gflops > best.gflops) {
      best = {gflops, name};
    }
  }
}

inline measured_peak peak_of_a_core() {
  measured_peak best;
  constexpr std::make_index_sequence<12> twelve;
  measure_loop(
      "packets of the build", Eigen::internal::packet_traits<float>::size,
      [](auto sums, float half, int rounds) { return multiply_add_packets(sums, half, rounds); },
      twelve, best);
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    measure_loop(
        "AVX2", 8,
        [](auto sums, float half, int rounds) { return multiply_add_avx2(sums, half, rounds); },
        twelve, best);
  }
  if (__builtin_cpu_supports("avx512f")) {
    measure_loop(
        "AVX-512", 16,
        [](auto sums, float half, int rounds) { return multiply_add_avx512(sums, half, rounds); },
        std::make_index_sequence<16>(), best);
  }
#endif
  return best;
}

}  // namespace peers
