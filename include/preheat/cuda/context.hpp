// Where a CUDA backend works: one stream, and the handles of cuBLAS and cuSOLVER that are bound to
// it. All work of a context is ordered by its stream; only what gives numbers to the host waits.
//
//   const auto context = std::make_shared<preheat::cuda_context>(preheat::cuda_options{.tf32 = true});
//   preheat::cuda<float> be(context);
//
// A context belongs to the device that is current when it is made, and to one thread at a time.
#pragma once
#include <memory>
#include <utility>

#include "error.hpp"

namespace preheat {

// How singular value decompositions are computed: by QR iterations, or by Jacobi's rotations, which
// are often faster for small matrices; where these do not converge, QR takes over.
enum class cuda_svd { gesvd, gesvdj };

struct cuda_options {
  bool tf32 = false;                         // products of floats in TF32: 10 bits of mantissa
  cuda_svd svd = cuda_svd::gesvd;            // svd of a matrix
  std::size_t cublas_workspace = 32U << 20;  // bytes, so that cuBLAS never allocates
};

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
  // For the library's function that makes one. cusolverDnCreate leaves a live handle behind when it
  // fails, which this owns too.
  Handle* address() { return &handle_; }
  operator Handle() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};

// The owner of memory on the device, in the order of a stream: work that was asked for before may
// still be using what is released. The stream must outlive it.
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
    // After cublasSetStream, which would take the workspace away again.
    if (const std::size_t bytes = options.cublas_workspace; bytes > 0) {
      workspace_ = detail::cuda_memory(bytes, stream_);
      check(cublasSetWorkspace(blas_, workspace_.data(), bytes), "cublasSetWorkspace");
    }
    info_ = detail::cuda_memory(sizeof(int), stream_);
  }
  cuda_context(const cuda_context&) = delete;
  cuda_context& operator=(const cuda_context&) = delete;

  const cuda_options& options() const { return options_; }
  cudaStream_t stream() const { return stream_; }
  cublasHandle_t blas() const { return blas_; }
  cusolverDnHandle_t solver() const { return solver_; }

  void synchronize() const {
    detail::check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  }

  // Where cuSOLVER writes its verdict on the device, and that verdict: 0, -i if argument i was
  // wrong, or what the function's documentation says. Waits.
  int* info() const { return static_cast<int*>(info_.data()); }
  int read_info(const char* call, detail::place at = {__builtin_FILE(), __builtin_LINE()}) const {
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
                       detail::place at = {__builtin_FILE(), __builtin_LINE()}) const {
    if (const int info = read_info(call, at); info != 0) {
      detail::throw_cuda_error(call, "no convergence", info, at);
    }
  }

 private:
  // In this order: the stream outlives all that is bound to it.
  cuda_options options_;
  detail::cuda_handle<cudaStream_t, cudaStreamDestroy> stream_;
  detail::cuda_handle<cublasHandle_t, cublasDestroy> blas_;
  detail::cuda_handle<cusolverDnHandle_t, cusolverDnDestroy> solver_;
  detail::cuda_memory workspace_;
  detail::cuda_memory info_;
};

}  // namespace preheat
