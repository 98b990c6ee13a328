// A GPU as the place where the program computes.
#include "studies/lm/backend.hpp"

#include <chrono>
#include <cstdint>

namespace studies::lm {
namespace {

cudaMemPool_t pool_of_matrices() {
  int device = 0;
  cudaMemPool_t pool = nullptr;
  preheat::detail::check(cudaGetDevice(&device), "cudaGetDevice");
  preheat::detail::check(cudaDeviceGetDefaultMemPool(&pool, device), "cudaDeviceGetDefaultMemPool");
  return pool;
}

}  // namespace

backend& the_backend() {
  static backend be;
  return be;
}

void use_one_blas_thread() {}

double computing_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double peak_memory_mb() {
  std::uint64_t bytes = 0;
  preheat::detail::check(
      cudaMemPoolGetAttribute(pool_of_matrices(), cudaMemPoolAttrUsedMemHigh, &bytes),
      "cudaMemPoolGetAttribute");
  return double(bytes) / 1e6;
}

// Also gives back what runs before have taken, because other processes share the device.
void forget_peak() {
  preheat::detail::check(cudaMemPoolTrimTo(pool_of_matrices(), 0), "cudaMemPoolTrimTo");
  std::uint64_t none = 0;
  preheat::detail::check(
      cudaMemPoolSetAttribute(pool_of_matrices(), cudaMemPoolAttrUsedMemHigh, &none),
      "cudaMemPoolSetAttribute");
}

}  // namespace studies::lm
