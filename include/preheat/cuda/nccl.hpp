// The NCCL communicator: sums of device memory, with one device per process, concurrent with the
// work of a context's stream.
//
//   comm::mpi world(argc, argv);                      // or any other communicator of the host
//   comm::use_own_device(world);
//   cuda<float> be;
//   comm::nccl devices(be.context(), world);
//   auto report = fit(m, network, batches, {.rank = 4, .processes = devices});
//
// `host` connects the processes, and is also used for single numbers and barriers. Sums run on a
// stream of their own: start_sum makes it wait for the work given to the context's stream before,
// wait() makes the context's stream wait for the sums, and the host waits for neither. A failing
// call throws cuda_error with the call, the code and the place. Link with -lnccl.
#pragma once
#include <nccl.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "../core/communicator.hpp"
#include "context.hpp"

namespace preheat {

namespace detail {

inline void check(ncclResult_t status, const char* call,
                  call_site at = {__builtin_FILE(), __builtin_LINE()}) {
  if (status != ncclSuccess) {
    throw_cuda_error(call, ncclGetErrorString(status), int(status), at);
  }
}

template <class T>
constexpr ncclDataType_t nccl_type() {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
  return std::is_same_v<T, float> ? ncclFloat32 : ncclFloat64;
}

}  // namespace detail

namespace comm {

// Gives this process the device of its number among the processes on its machine, in turn where it sees
// fewer devices. Collective; before a context is made, which says so where there is no device.
inline void use_own_device(process_group host) {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  const auto here = double(std::uint32_t(std::hash<std::string_view>()(name.data())));
  int before = 0;
  for (int rank = 0; rank < host.size(); ++rank) {
    const double there = host.sum(rank == host.rank() ? here : 0);
    before += rank < host.rank() && there == here ? 1 : 0;
  }
  int devices = 0;
  if (cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0) {
    preheat::detail::check(cudaSetDevice(before % devices), "cudaSetDevice");
  }
}

class nccl {
 public:
  static constexpr memory_kind reaches = memory_kind::device;

  // Created collectively by all processes of `host`. Each must have a device of its own.
  nccl(std::shared_ptr<const cuda_context> context, process_group host)
      : context_(std::move(context)), host_(host) {
    using preheat::detail::check;
    ncclUniqueId id{};
    if (host.first()) {
      check(ncclGetUniqueId(&id), "ncclGetUniqueId");
    }
    std::array<float, sizeof id> bytes{};  // one per number: every communicator sends numbers
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = float(static_cast<unsigned char>(id.internal[i]));
    }
    host.broadcast(std::span<float>(bytes));
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      id.internal[i] = static_cast<char>(static_cast<unsigned char>(bytes[i]));
    }
    check(cudaStreamCreateWithFlags(stream_.address(), cudaStreamNonBlocking),
          "cudaStreamCreateWithFlags");
    for (auto* event : {&given_, &summed_}) {
      check(cudaEventCreateWithFlags(event->address(), cudaEventDisableTiming),
            "cudaEventCreateWithFlags");
    }
    check(ncclCommInitRank(comm_.address(), host.size(), id, host.rank()), "ncclCommInitRank");
  }
  nccl(const nccl&) = delete;
  nccl& operator=(const nccl&) = delete;

  // --- concept communicator
  int rank() const { return host_.rank(); }
  int size() const { return host_.size(); }
  template <class T>
  void start_sum(std::span<T> x) {
    follow(stream_, given_, context_->stream());
    preheat::detail::check(ncclAllReduce(x.data(), x.data(), x.size(),
                                         preheat::detail::nccl_type<T>(), ncclSum, comm_, stream_),
                           "ncclAllReduce");
  }
  void wait() { follow(context_->stream(), summed_, stream_); }
  double sum(double here) { return host_.sum(here); }
  template <class T>
  void broadcast(std::span<T> x, int root) {
    preheat::detail::check(
        ncclBroadcast(x.data(), x.data(), x.size(), preheat::detail::nccl_type<T>(), root, comm_,
                      context_->stream()),
        "ncclBroadcast");
  }
  void barrier() { (void)host_.sum(0); }
  // The launcher of the processes detects that this one has failed, and ends the others.
  [[noreturn]] void abort(const std::string& why) {
    std::fprintf(stderr, "preheat: process %d of %d: %s\n", rank(), size(), why.c_str());
    std::abort();
  }

 private:
  // Work given to `later` from now on waits for the work given to `earlier` so far.
  static void follow(cudaStream_t later, cudaEvent_t event, cudaStream_t earlier) {
    preheat::detail::check(cudaEventRecord(event, earlier), "cudaEventRecord");
    preheat::detail::check(cudaStreamWaitEvent(later, event, 0), "cudaStreamWaitEvent");
  }

  std::shared_ptr<const cuda_context> context_;
  process_group host_;
  // The stream outlives everything that is bound to it.
  preheat::detail::cuda_handle<cudaStream_t, cudaStreamDestroy> stream_;
  preheat::detail::cuda_handle<cudaEvent_t, cudaEventDestroy> given_;
  preheat::detail::cuda_handle<cudaEvent_t, cudaEventDestroy> summed_;
  preheat::detail::cuda_handle<ncclComm_t, ncclCommDestroy> comm_;
};

static_assert(communicator<nccl>);

}  // namespace comm
}  // namespace preheat
