// A failing call of cudart, cuBLAS or cuSOLVER throws an exception that names the call, the code
// and the place:
//
//   preheat: cublas<t>gemm: CUBLAS_STATUS_EXECUTION_FAILED (13), backend.hpp:167
#pragma once
#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <cusolverDn.h>

#include <limits>
#include <string>

#include "../core/error.hpp"
#include "../core/types.hpp"

namespace preheat {

struct cuda_error : library_error {
  int code;
  cuda_error(const std::string& what, int status) : library_error(what), code(status) {}
};

namespace detail {

[[noreturn]] inline void throw_cuda_error(const char* call, const std::string& name, int code,
                                          call_site at) {
  throw cuda_error(failed_call(call, name, code, at), code);
}

inline const char* cusolver_status_name(cusolverStatus_t status) {
  switch (status) {
    case CUSOLVER_STATUS_NOT_INITIALIZED:
      return "CUSOLVER_STATUS_NOT_INITIALIZED";
    case CUSOLVER_STATUS_ALLOC_FAILED:
      return "CUSOLVER_STATUS_ALLOC_FAILED";
    case CUSOLVER_STATUS_INVALID_VALUE:
      return "CUSOLVER_STATUS_INVALID_VALUE";
    case CUSOLVER_STATUS_ARCH_MISMATCH:
      return "CUSOLVER_STATUS_ARCH_MISMATCH";
    case CUSOLVER_STATUS_EXECUTION_FAILED:
      return "CUSOLVER_STATUS_EXECUTION_FAILED";
    case CUSOLVER_STATUS_INTERNAL_ERROR:
      return "CUSOLVER_STATUS_INTERNAL_ERROR";
    default:
      return "a cuSOLVER status";
  }
}

inline void check(cudaError_t status, const char* call,
                  call_site at = {__builtin_FILE(), __builtin_LINE()}) {
  if (status != cudaSuccess) {
    (void)cudaGetLastError();  // clears the error, which the exception holds
    throw_cuda_error(call, cudaGetErrorName(status), int(status), at);
  }
}
inline void check(cublasStatus_t status, const char* call,
                  call_site at = {__builtin_FILE(), __builtin_LINE()}) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw_cuda_error(call, cublasGetStatusName(status), int(status), at);
  }
}
inline void check(cusolverStatus_t status, const char* call,
                  call_site at = {__builtin_FILE(), __builtin_LINE()}) {
  if (status != CUSOLVER_STATUS_SUCCESS) {
    throw_cuda_error(call, cusolver_status_name(status), int(status), at);
  }
}

// A dimension as the int that the libraries require.
inline int library_int(index_t n) {
  require(n <= std::numeric_limits<int>::max(), "a dimension on the device fits an int", n,
          std::numeric_limits<int>::max());
  return int(n);
}
}  // namespace detail

// The reason why there is no device to compute on; empty if there is one. Never throws.
inline std::string why_no_cuda() {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status == cudaSuccess && devices > 0) {
    return {};
  }
  (void)cudaGetLastError();
  return status == cudaSuccess ? "there is no CUDA device" : cudaGetErrorString(status);
}

}  // namespace preheat
