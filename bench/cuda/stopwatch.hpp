// The device's time of a piece of work, between two events in the context's stream; where the work waits for the host
// it contains that wait. The L2 cache is flushed before, as in a training step, where the other layers have passed
// through it since.
#pragma once
#include <algorithm>
#include <memory>
#include <preheat/cuda/context.hpp>
#include <utility>

namespace bench {

class stopwatch {
 public:
  explicit stopwatch(std::shared_ptr<const preheat::cuda_context> context)
      : context_(std::move(context)) {
    using preheat::detail::check;
    int device = 0;
    int cache = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    check(cudaDeviceGetAttribute(&cache, cudaDevAttrL2CacheSize, device), "cudaDeviceGetAttribute");
    size_ = std::max<std::size_t>(256U << 20, 2 * std::size_t(cache));
    flush_ = preheat::detail::cuda_memory(size_, context_->stream());
    check(cudaEventCreate(begin_.address()), "cudaEventCreate");
    check(cudaEventCreate(end_.address()), "cudaEventCreate");
  }
  // While the device flushes its cache the host is already asking for the work.
  template <class Work>
  double milliseconds(Work work) {
    using preheat::detail::check;
    check(cudaMemsetAsync(flush_.data(), 0, size_, context_->stream()), "cudaMemsetAsync");
    check(cudaEventRecord(begin_, context_->stream()), "cudaEventRecord");
    work();
    check(cudaEventRecord(end_, context_->stream()), "cudaEventRecord");
    check(cudaEventSynchronize(end_), "cudaEventSynchronize");
    float elapsed = 0;
    check(cudaEventElapsedTime(&elapsed, begin_, end_), "cudaEventElapsedTime");
    return double(elapsed);
  }

 private:
  std::shared_ptr<const preheat::cuda_context> context_;
  std::size_t size_ = 0;
  preheat::detail::cuda_memory flush_;
  preheat::detail::cuda_handle<cudaEvent_t, cudaEventDestroy> begin_;
  preheat::detail::cuda_handle<cudaEvent_t, cudaEventDestroy> end_;
};

}  // namespace bench
