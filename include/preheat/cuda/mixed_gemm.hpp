// A product of two matrices of a storage type with sums in float and its result in either type, by
// cublasGemmEx:  c = alpha·op(a)·op(b) + beta·c.
#pragma once
#include <library_types.h>

#include "../core/shapes.hpp"
#include "context.hpp"
#include "factorizations.hpp"
#include "libraries.hpp"

namespace preheat {

// What cuBLAS calls a number type, and its name: specialized where a type of storage is (bf16.hpp).
template <class S>
struct cuda_storage_type;
template <>
struct cuda_storage_type<float> {
  static constexpr const char* name = "F32";
  static constexpr cudaDataType_t type = CUDA_R_32F;
};

namespace detail {

// Requires shapes that fit, and that nothing is empty.
template <class S, class C>
void cuda_mixed_gemm(const cuda_context& context, float alpha, transpose ta, view<const S> a,
                     transpose tb, view<const S> b, float beta, view<C> c) {
  check(cublasGemmEx(context.blas(), operation(ta), operation(tb), library_int(c.rows()),
                     library_int(c.cols()), library_int(cols_of(ta, a)), &alpha, a.data(),
                     cuda_storage_type<S>::type, library_int(a.ld()), b.data(),
                     cuda_storage_type<S>::type, library_int(b.ld()), &beta, c.data(),
                     cuda_storage_type<C>::type, library_int(c.ld()), CUBLAS_COMPUTE_32F,
                     CUBLAS_GEMM_DEFAULT),
        "cublasGemmEx");
}

}  // namespace detail

}  // namespace preheat
