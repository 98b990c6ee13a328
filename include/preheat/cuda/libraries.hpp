// The functions of cuBLAS and cuSOLVER by scalar type: gemm of float is cublasSgemm.
#pragma once
#include <cublas_v2.h>
#include <cusolverDn.h>

namespace preheat::detail {

template <class T>
struct cublas;
template <>
struct cublas<float> {
  static constexpr auto gemm = cublasSgemm;
  static constexpr auto gemm_batched = cublasSgemmBatched;
  static constexpr auto syrk = cublasSsyrk;
  static constexpr auto trsm = cublasStrsm;
  static constexpr auto geam = cublasSgeam;
};
template <>
struct cublas<double> {
  static constexpr auto gemm = cublasDgemm;
  static constexpr auto gemm_batched = cublasDgemmBatched;
  static constexpr auto syrk = cublasDsyrk;
  static constexpr auto trsm = cublasDtrsm;
  static constexpr auto geam = cublasDgeam;
};

template <class T>
struct cusolver;
template <>
struct cusolver<float> {
  static constexpr auto potrf_size = cusolverDnSpotrf_bufferSize;
  static constexpr auto potrf = cusolverDnSpotrf;
  static constexpr auto geqrf_size = cusolverDnSgeqrf_bufferSize;
  static constexpr auto geqrf = cusolverDnSgeqrf;
  static constexpr auto orgqr_size = cusolverDnSorgqr_bufferSize;
  static constexpr auto orgqr = cusolverDnSorgqr;
  static constexpr auto gesvd_size = cusolverDnSgesvd_bufferSize;
  static constexpr auto gesvd = cusolverDnSgesvd;
  static constexpr auto gesvdj_size = cusolverDnSgesvdj_bufferSize;
  static constexpr auto gesvdj = cusolverDnSgesvdj;
  static constexpr auto syevd_size = cusolverDnSsyevd_bufferSize;
  static constexpr auto syevd = cusolverDnSsyevd;
  static constexpr auto syevdx_size = cusolverDnSsyevdx_bufferSize;
  static constexpr auto syevdx = cusolverDnSsyevdx;
};
template <>
struct cusolver<double> {
  static constexpr auto potrf_size = cusolverDnDpotrf_bufferSize;
  static constexpr auto potrf = cusolverDnDpotrf;
  static constexpr auto geqrf_size = cusolverDnDgeqrf_bufferSize;
  static constexpr auto geqrf = cusolverDnDgeqrf;
  static constexpr auto orgqr_size = cusolverDnDorgqr_bufferSize;
  static constexpr auto orgqr = cusolverDnDorgqr;
  static constexpr auto gesvd_size = cusolverDnDgesvd_bufferSize;
  static constexpr auto gesvd = cusolverDnDgesvd;
  static constexpr auto gesvdj_size = cusolverDnDgesvdj_bufferSize;
  static constexpr auto gesvdj = cusolverDnDgesvdj;
  static constexpr auto syevd_size = cusolverDnDsyevd_bufferSize;
  static constexpr auto syevd = cusolverDnDsyevd;
  static constexpr auto syevdx_size = cusolverDnDsyevdx_bufferSize;
  static constexpr auto syevdx = cusolverDnDsyevdx;
};

}  // namespace preheat::detail
