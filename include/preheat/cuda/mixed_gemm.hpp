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
  if (!context.wants("cublasGemmEx", cuda_storage_type<S>::type, cuda_storage_type<C>::type, alpha,
                     ta, a.data(), a.ld(), tb, b.data(), b.ld(), beta, c.data(), c.ld(), c.rows(),
                     c.cols(), cols_of(ta, a))) {
    return;
  }
  check(cublasGemmEx(context.wanted_blas(), operation(ta), operation(tb), library_int(c.rows()),
                     library_int(c.cols()), library_int(cols_of(ta, a)), &alpha, a.data(),
                     cuda_storage_type<S>::type, library_int(a.ld()), b.data(),
                     cuda_storage_type<S>::type, library_int(b.ld()), &beta, c.data(),
                     cuda_storage_type<C>::type, library_int(c.ld()), CUBLAS_COMPUTE_32F,
                     CUBLAS_GEMM_DEFAULT),
        "cublasGemmEx");
}

// Every product of a grid; `starts` has the pointers to the blocks (block_starts.hpp).
template <class T, class X, class Starts>
void cuda_grid_gemm(const cuda_context& context, T alpha, transpose ta, view<const X> a,
                    transpose tb, view<const X> b, T beta, view<X> c, const Starts& starts,
                    index_t k, index_t count) {
  const int m = library_int(c.rows());
  const int n = library_int(c.cols());
  if (!context.wants("a grid of products", sizeof(X), alpha, ta, a.ld(), tb, b.ld(), beta, c.ld(),
                     starts.left.data(), starts.right.data(), starts.results.data(), m, n, k,
                     count)) {
    return;
  }
  if constexpr (std::is_same_v<T, X>) {
    check(cublas<T>::gemm_batched(context.wanted_blas(), operation(ta), operation(tb), m, n,
                                  library_int(k), &alpha, starts.left.data(), library_int(a.ld()),
                                  starts.right.data(), library_int(b.ld()), &beta,
                                  starts.results.data(), library_int(c.ld()), library_int(count)),
          "cublas<t>gemmBatched");
  } else {
    const auto pointers = [](auto* list) { return reinterpret_cast<const void* const*>(list); };
    constexpr cudaDataType_t type = cuda_storage_type<X>::type;
    check(cublasGemmBatchedEx(
              context.wanted_blas(), operation(ta), operation(tb), m, n, library_int(k), &alpha,
              pointers(starts.left.data()), type, library_int(a.ld()),
              pointers(starts.right.data()), type, library_int(b.ld()), &beta,
              reinterpret_cast<void* const*>(const_cast<X**>(starts.results.data())), type,
              library_int(c.ld()), library_int(count), CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
          "cublasGemmBatchedEx");
  }
}

}  // namespace detail

}  // namespace preheat
