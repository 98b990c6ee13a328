// The BLAS and LAPACK that the double computes with, by scalar type.
#pragma once

extern "C" {
#define CUDA_DOUBLE_LAPACK(s, T)                                                                  \
  void s##gemm_(const char*, const char*, const int*, const int*, const int*, const T*, const T*, \
                const int*, const T*, const int*, const T*, T*, const int*);                      \
  void s##syrk_(const char*, const char*, const int*, const int*, const T*, const T*, const int*, \
                const T*, T*, const int*);                                                        \
  void s##trsm_(const char*, const char*, const char*, const char*, const int*, const int*,       \
                const T*, const T*, const int*, T*, const int*);                                  \
  void s##potrf_(const char*, const int*, T*, const int*, int*);                                  \
  void s##geqrf_(const int*, const int*, T*, const int*, T*, T*, const int*, int*);               \
  void s##orgqr_(const int*, const int*, const int*, T*, const int*, const T*, T*, const int*,    \
                 int*);                                                                           \
  void s##gesvd_(const char*, const char*, const int*, const int*, T*, const int*, T*, T*,        \
                 const int*, T*, const int*, T*, const int*, int*);                               \
  void s##syevd_(const char*, const char*, const int*, T*, const int*, T*, T*, const int*, int*,  \
                 const int*, int*);
CUDA_DOUBLE_LAPACK(s, float)
CUDA_DOUBLE_LAPACK(d, double)
#undef CUDA_DOUBLE_LAPACK
}

namespace cuda_double {

template <class T>
struct lapack;
#define CUDA_DOUBLE_LAPACK(s, T)             \
  template <>                                \
  struct lapack<T> {                         \
    static constexpr auto gemm = s##gemm_;   \
    static constexpr auto syrk = s##syrk_;   \
    static constexpr auto trsm = s##trsm_;   \
    static constexpr auto potrf = s##potrf_; \
    static constexpr auto geqrf = s##geqrf_; \
    static constexpr auto orgqr = s##orgqr_; \
    static constexpr auto gesvd = s##gesvd_; \
    static constexpr auto syevd = s##syevd_; \
  };
CUDA_DOUBLE_LAPACK(s, float)
CUDA_DOUBLE_LAPACK(d, double)
#undef CUDA_DOUBLE_LAPACK

}  // namespace cuda_double
