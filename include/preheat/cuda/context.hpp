// A CUDA backend's context: one stream, and the handles of cuBLAS and cuSOLVER that are bound to
// it. The stream orders all work of a context; only calls that return numbers to the host wait.
//
//   const preheat::cuda_options options{.tf32 = true};
//   const auto context = std::make_shared<preheat::cuda_context>(options);
//   preheat::cuda<float> be(context);
//
// A context belongs to the device that is current when it is made, and is used by one thread at a
// time.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <utility>

#include "error.hpp"

namespace preheat {

// The algorithm of singular value decompositions: QR iterations, or Jacobi rotations, which are
// often faster for small matrices; if these do not converge, QR iterations are used.
enum class cuda_svd { gesvd, gesvdj };

struct cuda_options {
  bool tf32 = false;                         // products of floats in TF32: 10 bits of mantissa
  cuda_svd svd = cuda_svd::gesvd;            // svd of a matrix
  std::size_t cublas_workspace = 32U << 20;  // bytes, so that cuBLAS never allocates
  // The device's memory pool keeps what is freed for the next matrix, until the process ends. Without it, it gives
  // all back whenever the host waits, and the next step allocates it anew. The setting is the whole process's.
  bool keep_memory = true;
  bool capture_steps = false;  // the passes of `fit` run as CUDA graphs (cuda/captured_steps.hpp)
  // A step of `fit` waits for its loss alone, and asks for the rest and for the next step while the device computes;
  // without it, for all that was asked for before the loss is read (cuda/sent_number.hpp).
  bool run_ahead = true;
};

class cuda_context;

namespace detail {

// The owner of a handle.
template <class Handle, auto Destroy>
class cuda_handle {
 public:
  cuda_handle() = default;
  cuda_handle(const cuda_handle&) = delete;
  cuda_handle& operator=(const cuda_handle&) = delete;
  ~cuda_handle() {
    if (handle_ != nullptr) {
      (void)Destroy(handle_);
    }
  }
  // For the library function that creates a handle. cusolverDnCreate leaves a valid handle behind
  // when it fails, which this object owns too.
  Handle* address() { return &handle_; }
  operator Handle() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};

// The owner of memory on the device, released in the order of a stream, because earlier work may
// still use it. The stream must outlive the object.
class cuda_memory {
 public:
  cuda_memory() = default;
  cuda_memory(std::size_t bytes, cudaStream_t stream) : stream_(stream) {
    check(cudaMallocAsync(&data_, bytes, stream), "cudaMallocAsync");
  }
  cuda_memory(cuda_memory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), stream_(other.stream_) {}
  cuda_memory& operator=(cuda_memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(stream_, other.stream_);
    return *this;
  }
  ~cuda_memory() {
    if (data_ != nullptr) {
      (void)cudaFreeAsync(data_, stream_);
    }
  }
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
  cudaStream_t stream_ = nullptr;
};

// Work that is not yet given to the stream, because more of its kind may follow (cuda/collected.hpp).
class cuda_held_work {
 public:
  virtual ~cuda_held_work() = default;
  virtual void give(const cuda_context& context) = 0;
};

// What stands between the calls of a context and its stream while a step is captured or repeated
// (cuda/captured_steps.hpp).
class cuda_call_filter {
 public:
  virtual ~cuda_call_filter() = default;
  // A call that a graph may hold; `arguments` is a hash of all of them. False: it is not to be made.
  virtual bool wants(const char* name, std::uint64_t arguments) = 0;
  // True: the filter brings these bytes of the host to the device.
  virtual bool takes(const void* numbers, std::size_t bytes, void* to) = 0;
  // A call follows that no graph can hold.
  virtual void leave() = 0;
};

// Of the bytes of an object, or of a part of it, without those between its members.
inline std::uint64_t hash_of_bytes(const void* data, std::size_t bytes, std::uint64_t hash) {
  const auto* from = static_cast<const unsigned char*>(data);
  for (std::size_t k = 0; k < bytes; k += sizeof hash) {
    std::uint64_t word = 0;
    std::memcpy(&word, from + k, std::min(sizeof word, bytes - k));
    hash = (hash ^ word) * 0x9E3779B97F4A7C15U;
    hash ^= hash >> 29U;
  }
  return hash;
}
template <class T>
std::uint64_t hash_of_argument(T x, std::uint64_t hash) {
#if defined(__has_builtin)
#if __has_builtin(__builtin_clear_padding)
  __builtin_clear_padding(&x);
#endif
#endif
  return hash_of_bytes(&x, sizeof x, hash);
}

}  // namespace detail

class cuda_context {
 public:
  explicit cuda_context(cuda_options options = {}) : options_(options) {
    using detail::check;
    if (const std::string reason = why_no_cuda(); !reason.empty()) {
      throw cuda_error("no CUDA device: " + reason, int(cudaErrorNoDevice));
    }
    check(cudaStreamCreateWithFlags(stream_.address(), cudaStreamNonBlocking),
          "cudaStreamCreateWithFlags");
    check(cublasCreate(blas_.address()), "cublasCreate");
    check(cusolverDnCreate(solver_.address()), "cusolverDnCreate");
    check(cublasSetStream(blas_, stream_), "cublasSetStream");
    check(cusolverDnSetStream(solver_, stream_), "cusolverDnSetStream");
    check(cublasSetMathMode(blas_, options.tf32 ? CUBLAS_TF32_TENSOR_OP_MATH : CUBLAS_DEFAULT_MATH),
          "cublasSetMathMode");
    if (options.keep_memory) {
      int device = 0;
      cudaMemPool_t pool = nullptr;
      std::uint64_t everything = std::numeric_limits<std::uint64_t>::max();
      check(cudaGetDevice(&device), "cudaGetDevice");
      check(cudaDeviceGetDefaultMemPool(&pool, device), "cudaDeviceGetDefaultMemPool");
      check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &everything),
            "cudaMemPoolSetAttribute");
    }
    // After cublasSetStream, which would reset the workspace.
    if (const std::size_t bytes = options.cublas_workspace; bytes > 0) {
      workspace_ = detail::cuda_memory(bytes, stream_);
      check(cublasSetWorkspace(blas_, workspace_.data(), bytes), "cublasSetWorkspace");
    }
    info_ = detail::cuda_memory(sizeof(int), stream_);
  }
  cuda_context(const cuda_context&) = delete;
  cuda_context& operator=(const cuda_context&) = delete;

  const cuda_options& options() const { return options_; }
  // Whoever uses one of these gives work to the stream, after all that was held, and none of it is captured.
  cudaStream_t stream() const {
    give_held();
    leave_graph();
    return stream_;
  }
  cublasHandle_t blas() const {
    give_held();
    leave_graph();
    return blas_;
  }
  cusolverDnHandle_t solver() const {
    give_held();
    leave_graph();
    return solver_;
  }

  // For a call that a graph may hold: whether to make it, on the stream or the handle below. The arguments are all
  // that its work depends on.
  template <class... Arguments>
  bool wants(const char* name, const Arguments&... arguments) const {
    give_held();
    if (filter_ == nullptr) {
      return true;
    }
    std::uint64_t hash = std::uint64_t(sizeof...(arguments));
    ((hash = detail::hash_of_argument(arguments, hash)), ...);
    return filter_->wants(name, hash);
  }
  cudaStream_t wanted_stream() const { return stream_; }
  cublasHandle_t wanted_blas() const { return blas_; }
  // Whether numbers of the host are on their way to the device already.
  bool takes(const void* numbers, std::size_t bytes, void* to) const {
    give_held();
    return filter_ != nullptr && filter_->takes(numbers, bytes, to);
  }
  void leave_graph() const {
    if (filter_ != nullptr) {
      filter_->leave();
    }
  }
  // nullptr: calls go to the stream.
  void set_filter(detail::cuda_call_filter* filter) const { filter_ = filter; }

  // Passes over matrices may be held while `collect` is on.
  bool collects() const { return collects_; }
  void collect(bool on) const { collects_ = on; }
  std::unique_ptr<detail::cuda_held_work>& held() const { return held_; }
  void give_held() const {
    if (failed_) {
      std::rethrow_exception(std::exchange(failed_, nullptr));
    }
    if (held_) {
      std::exchange(held_, nullptr)->give(*this);
    }
  }
  // The same for a destructor: an error is that of the next call.
  void give_held_noexcept(bool frees = false) const noexcept {
    try {
      give_held();
      if (frees) {
        leave_graph();
      }
    } catch (...) {
      failed_ = std::current_exception();
    }
  }

  // What was held is lost, and so is an error of it.
  void forget_held() const {
    held_.reset();
    failed_ = nullptr;
  }

  void synchronize() const {
    give_held();
    leave_graph();
    detail::check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  }

  // The device memory to which cuSOLVER writes its status; and that status, for which the call
  // waits: 0, -i if argument i was wrong, or a value in the function's documentation.
  int* info() const { return static_cast<int*>(info_.data()); }
  int read_info(const char* call,
                detail::call_site at = {__builtin_FILE(), __builtin_LINE()}) const {
    int info = 0;
    detail::check(
        cudaMemcpyAsync(&info, info_.data(), sizeof(int), cudaMemcpyDeviceToHost, stream()), call,
        at);
    synchronize();
    if (info < 0) {
      detail::throw_cuda_error(call, "an argument is wrong", info, at);
    }
    return info;
  }
  void require_success(const char* call,
                       detail::call_site at = {__builtin_FILE(), __builtin_LINE()}) const {
    if (const int info = read_info(call, at); info != 0) {
      detail::throw_cuda_error(call, "no convergence", info, at);
    }
  }

 private:
  // In this order, so that the stream outlives everything that is bound to it.
  cuda_options options_;
  detail::cuda_handle<cudaStream_t, cudaStreamDestroy> stream_;
  detail::cuda_handle<cublasHandle_t, cublasDestroy> blas_;
  detail::cuda_handle<cusolverDnHandle_t, cusolverDnDestroy> solver_;
  detail::cuda_memory workspace_;
  detail::cuda_memory info_;
  mutable bool collects_ = false;
  mutable std::unique_ptr<detail::cuda_held_work> held_;
  mutable std::exception_ptr failed_;
  mutable detail::cuda_call_filter* filter_ = nullptr;
};

}  // namespace preheat
