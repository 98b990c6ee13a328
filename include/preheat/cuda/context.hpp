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
#include <cstdint>
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
  // Whoever uses one of these gives work to the stream, after all that was held.
  cudaStream_t stream() const {
    give_held();
    return stream_;
  }
  cublasHandle_t blas() const {
    give_held();
    return blas_;
  }
  cusolverDnHandle_t solver() const {
    give_held();
    return solver_;
  }

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
  void give_held_noexcept() const noexcept {
    try {
      give_held();
    } catch (...) {
      failed_ = std::current_exception();
    }
  }

  void synchronize() const {
    give_held();
    detail::check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  }

  // The device memory to which cuSOLVER writes its status; and that status, for which the call
  // waits: 0, -i if argument i was wrong, or a value in the function's documentation.
  int* info() const { return static_cast<int*>(info_.data()); }
  int read_info(const char* call,
                detail::call_site at = {__builtin_FILE(), __builtin_LINE()}) const {
    int info = 0;
    detail::check(
        cudaMemcpyAsync(&info, info_.data(), sizeof(int), cudaMemcpyDeviceToHost, stream_), call,
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
};

}  // namespace preheat
