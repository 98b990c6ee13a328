// A GPU as the place where the program computes.
#include "apps/finetune/backend.hpp"

#include <cstdint>

#if defined(PREHEAT_NCCL)
#include <preheat/cuda/nccl.hpp>
#endif

namespace apps::finetune {
namespace {

Be backend_of(int threads, const preheat::process_group& host) {
  preheat::require(threads == 0, "--threads is for --device cpu. Threads on a GPU", threads, 0);
#if defined(PREHEAT_NCCL)
  preheat::comm::use_own_device(host);
#else
  preheat::require(host.alone(),
                   "preheat-finetune-cuda was built without NCCL (libnccl-dev), and trains in one "
                   "process. Processes",
                   host.size(), 1);
#endif
  return Be();
}

}  // namespace

#if defined(PREHEAT_NCCL)
struct computer::device_sums {
  preheat::comm::nccl of_devices;
  device_sums(const Be& be, const preheat::process_group& host) : of_devices(be.context(), host) {}
};
#else
struct computer::device_sums {};
#endif

computer::computer(int threads, const preheat::process_group& host, [[maybe_unused]] bool together)
    : be_(backend_of(threads, host)) {
#if defined(PREHEAT_NCCL)
  if (together && !host.alone()) {
    sums_ = std::make_unique<device_sums>(be_, host);
    processes_ = sums_->of_devices;
  }
#endif
}
computer::~computer() = default;

double available_memory() {
  std::size_t free = 0;
  std::size_t all = 0;
  preheat::detail::check(cudaMemGetInfo(&free, &all), "cudaMemGetInfo");
  return double(free);
}

// What the pool of matrices has taken of the device, with what it keeps for the next ones.
double resident_memory() {
  int device = 0;
  cudaMemPool_t pool = nullptr;
  std::uint64_t bytes = 0;
  preheat::detail::check(cudaGetDevice(&device), "cudaGetDevice");
  preheat::detail::check(cudaDeviceGetDefaultMemPool(&pool, device), "cudaDeviceGetDefaultMemPool");
  preheat::detail::check(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &bytes),
                         "cudaMemPoolGetAttribute");
  return double(bytes);
}

}  // namespace apps::finetune
