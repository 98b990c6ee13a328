// The backends on which every law is checked, their names in the output, and their tolerances.
#pragma once
#include <doctest/doctest.h>
#include <limits>
#include <preheat/cpu/backend.hpp>

#include "archetype.hpp"
#if defined(PREHEAT_TEST_CUDA)
#include "cuda/shared_context.hpp"
#endif

namespace conformance {

using cpu_float = preheat::cpu<float>;
using cpu_double = preheat::cpu<double>;
using eigen_float = preheat::cpu<float, preheat::eigen_kernels>;
using eigen_double = preheat::cpu<double, preheat::eigen_kernels>;
using archetype_double = archetype<double>;
#if defined(PREHEAT_TEST_THREADS)
// CPU backends of several threads that cut whatever they can, however small.
template <int Threads, class T, class Kernels>
struct threaded : preheat::cpu<T, Kernels> {
  threaded() : preheat::cpu<T, Kernels>(Threads, {.multiplications = 1, .entries = 1, .unit = 1}) {}
};
using two_threads = threaded<2, float, preheat::default_cpu_kernels>;
using three_threads = threaded<3, double, preheat::eigen_kernels>;
#endif
#if defined(PREHEAT_TEST_CUDA)
using cuda_float = cuda_in_shared_context<float>;
using cuda_double = cuda_in_shared_context<double>;
#endif

// The laws of algorithms: three backends say enough, and compile in time. Without a system BLAS the
// CPU's are Eigen's. A device has a program of its own (tests/cuda).
#if defined(PREHEAT_TEST_CUDA)
#define PREHEAT_BACKENDS conformance::cuda_float
#elif defined(PREHEAT_TEST_THREADS)
#define PREHEAT_BACKENDS conformance::two_threads, conformance::three_threads
#elif defined(PREHEAT_FEW_BACKENDS_archetype)  // one compiler takes this, the other the rest
#define PREHEAT_BACKENDS conformance::archetype_double
#elif defined(PREHEAT_FEW_BACKENDS_cpu)
#define PREHEAT_BACKENDS conformance::cpu_float, conformance::cpu_double
#else
#define PREHEAT_BACKENDS \
  conformance::cpu_float, conformance::cpu_double, conformance::archetype_double
#endif
// The laws of backends: all there are.
#if defined(PREHEAT_TEST_CUDA)
#define PREHEAT_ALL_BACKENDS PREHEAT_BACKENDS, conformance::cuda_double
#elif defined(PREHEAT_FEW_BACKENDS_archetype) && !defined(PREHEAT_TEST_THREADS)
#define PREHEAT_ALL_BACKENDS PREHEAT_BACKENDS, conformance::cpu_float, conformance::eigen_double
#elif defined(PREHEAT_SYSTEM_BLAS) && !defined(PREHEAT_TEST_THREADS)
#define PREHEAT_ALL_BACKENDS PREHEAT_BACKENDS, conformance::eigen_float, conformance::eigen_double
#else
#define PREHEAT_ALL_BACKENDS PREHEAT_BACKENDS
#endif

template <class Be>
inline constexpr double epsilon = double(std::numeric_limits<typename Be::scalar>::epsilon());

// What rounding may do to a sum of `size` terms of magnitude one.
template <class Be>
constexpr double tolerance(index_t size) {
  return 64 * epsilon<Be> * double(size);
}

}  // namespace conformance

TYPE_TO_STRING_AS("cpu float", conformance::cpu_float);
TYPE_TO_STRING_AS("cpu double", conformance::cpu_double);
TYPE_TO_STRING_AS("archetype", conformance::archetype_double);
#if defined(PREHEAT_SYSTEM_BLAS)
TYPE_TO_STRING_AS("eigen float", conformance::eigen_float);
TYPE_TO_STRING_AS("eigen double", conformance::eigen_double);
#endif
#if defined(PREHEAT_TEST_THREADS)
TYPE_TO_STRING_AS("two threads float", conformance::two_threads);
TYPE_TO_STRING_AS("three threads double", conformance::three_threads);
#endif
#if defined(PREHEAT_TEST_CUDA)
TYPE_TO_STRING_AS("cuda float", conformance::cuda_float);
TYPE_TO_STRING_AS("cuda double", conformance::cuda_double);
#endif
