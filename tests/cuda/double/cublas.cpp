// The symbols of cuBLAS. Scalars are read at the call, as in host pointer mode.
#include <cublas_v2.h>
#include <cuda_bf16.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>

#include "lapack.hpp"
#include "machine.hpp"

using namespace cuda_double;

struct cublasContext {
  stream* work = &machine::get().default_stream;
  cublasMath_t math = CUBLAS_DEFAULT_MATH;
  operand<char> workspace{nullptr, 0, "the workspace"};

  // What every product may do to it.
  static void use(const operand<char>& workspace) {
    if (workspace.bytes > 0) {
      spoil(workspace.reach(), std::min<std::size_t>(workspace.bytes, 64));
    }
  }
};

namespace {

constexpr codes<cublasStatus_t> usual{CUBLAS_STATUS_ALLOC_FAILED, CUBLAS_STATUS_INVALID_VALUE,
                                      CUBLAS_STATUS_EXECUTION_FAILED};

// A call on a handle that is alive.
template <class Body>
cublasStatus_t blas_call(const char* name, cublasHandle_t h, const Body& body) {
  return call(name, usual, [&] {
    expect(machine::get().handles.count(h) == 1, "no such handle");
    body(*h->work);
  });
}

char letter(cublasOperation_t t) {
  return t == CUBLAS_OP_N ? 'N' : 'T';
}

// x with 10 bits of mantissa, as the tensor cores round it.
float rounded_to_tf32(float x) {
  std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7F800000U) != 0x7F800000U) {
    bits = (bits + 0xFFFU + ((bits >> 13U) & 1U)) & ~0x1FFFU;
  }
  return std::bit_cast<float>(bits);
}

template <class T>
void check_scalar(const T* x) {
  expect(x != nullptr && !machine::get().is_device(x), "a scalar is not on the host");
}

// A copy of an operand as the product reads it.
template <class T>
std::vector<T> rounded_operand(const operand<const T>& a, bool tf32) {
  const T* const p = a.reach();
  std::vector<T> copy(p, p + a.bytes / sizeof(T));
  if (tf32) {
    for (T& entry : copy) {
      entry = T(rounded_to_tf32(float(entry)));
    }
  }
  return copy;
}

template <class T>
cublasStatus_t gemm(const char* name, cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb,
                    int m, int n, int k, const T* alpha, const T* A, int lda, const T* B, int ldb,
                    const T* beta, T* C, int ldc) {
  return blas_call(name, h, [&](stream& s) {
    expect(k > 0, "the inner dimension is not positive");
    check_scalar(alpha);
    check_scalar(beta);
    const auto a = ta == CUBLAS_OP_N ? matrix("A", A, m, k, lda) : matrix("A", A, k, m, lda);
    const auto b = tb == CUBLAS_OP_N ? matrix("B", B, k, n, ldb) : matrix("B", B, n, k, ldb);
    const auto c = matrix("C", C, m, n, ldc);
    const bool tf32 = std::is_same_v<T, float> && h->math == CUBLAS_TF32_TENSOR_OP_MATH;
    machine::get().enqueue(s, [=, x = *alpha, y = *beta, workspace = h->workspace] {
      cublasContext::use(workspace);
      const char na = letter(ta);
      const char nb = letter(tb);
      const std::vector<T> used_a = rounded_operand(a, tf32);
      const std::vector<T> used_b = rounded_operand(b, tf32);
      lapack<T>::gemm(&na, &nb, &m, &n, &k, &x, used_a.data(), &lda, used_b.data(), &ldb, &y,
                      c.reach(), &ldc);
    });
  });
}

// One product for each entry of three arrays of pointers on the device.
template <class T>
cublasStatus_t gemm_batched(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m,
                            int n, int k, const T* alpha, const T* const* A, int lda,
                            const T* const* B, int ldb, const T* beta, T* const* C, int ldc,
                            int count) {
  return blas_call("cublas<t>gemmBatched", h, [&](stream& s) {
    expect(k > 0 && count >= 0, "the inner dimension is not positive, or the count is negative");
    check_scalar(alpha);
    check_scalar(beta);
    expect(lda >= (ta == CUBLAS_OP_N ? m : k), "A: the leading dimension is too small");
    expect(ldb >= (tb == CUBLAS_OP_N ? k : n), "B: the leading dimension is too small");
    expect(ldc >= m, "C: the leading dimension is too small");
    const auto left = matrix("the pointers to A", A, count, 1, count);
    const auto right = matrix("the pointers to B", B, count, 1, count);
    const auto results = matrix("the pointers to C", C, count, 1, count);
    const bool tf32 = std::is_same_v<T, float> && h->math == CUBLAS_TF32_TENSOR_OP_MATH;
    machine::get().enqueue(s, [=, x = *alpha, y = *beta, workspace = h->workspace] {
      cublasContext::use(workspace);
      const char na = letter(ta);
      const char nb = letter(tb);
      for (long i = 0; i < count; ++i) {
        const T* const start_a = left.reach()[i];
        const T* const start_b = right.reach()[i];
        const auto a =
            ta == CUBLAS_OP_N ? matrix("A", start_a, m, k, lda) : matrix("A", start_a, k, m, lda);
        const auto b =
            tb == CUBLAS_OP_N ? matrix("B", start_b, k, n, ldb) : matrix("B", start_b, n, k, ldb);
        const auto c = matrix("C", results.reach()[i], m, n, ldc);
        const std::vector<T> used_a = rounded_operand(a, tf32);
        const std::vector<T> used_b = rounded_operand(b, tf32);
        lapack<T>::gemm(&na, &nb, &m, &n, &k, &x, used_a.data(), &lda, used_b.data(), &ldb, &y,
                        c.reach(), &ldc);
      }
    });
  });
}

template <class T>
cublasStatus_t syrk(const char* name, cublasHandle_t h, cublasFillMode_t triangle,
                    cublasOperation_t t, int n, int k, const T* alpha, const T* A, int lda,
                    const T* beta, T* C, int ldc) {
  return blas_call(name, h, [&](stream& s) {
    expect(k > 0, "the inner dimension is not positive");
    check_scalar(alpha);
    check_scalar(beta);
    const auto a = t == CUBLAS_OP_N ? matrix("A", A, n, k, lda) : matrix("A", A, k, n, lda);
    const auto c = matrix("C", C, n, n, ldc);
    machine::get().enqueue(s, [=, x = *alpha, y = *beta] {
      const char u = triangle == CUBLAS_FILL_MODE_UPPER ? 'U' : 'L';
      const char nt = letter(t);
      lapack<T>::syrk(&u, &nt, &n, &k, &x, a.reach(), &lda, &y, c.reach(), &ldc);
    });
  });
}

template <class T>
cublasStatus_t trsm(const char* name, cublasHandle_t h, cublasSideMode_t side,
                    cublasFillMode_t triangle, cublasOperation_t t, cublasDiagType_t diagonal,
                    int m, int n, const T* alpha, const T* A, int lda, T* B, int ldb) {
  return blas_call(name, h, [&](stream& s) {
    check_scalar(alpha);
    const int order = side == CUBLAS_SIDE_LEFT ? m : n;
    const auto a = matrix("A", A, order, order, lda);
    const auto b = matrix("B", B, m, n, ldb);
    machine::get().enqueue(s, [=, x = *alpha] {
      const char l = side == CUBLAS_SIDE_LEFT ? 'L' : 'R';
      const char u = triangle == CUBLAS_FILL_MODE_UPPER ? 'U' : 'L';
      const char nt = letter(t);
      const char d = diagonal == CUBLAS_DIAG_UNIT ? 'U' : 'N';
      lapack<T>::trsm(&l, &u, &nt, &d, &m, &n, &x, a.reach(), &lda, b.reach(), &ldb);
    });
  });
}

template <class T>
cublasStatus_t geam(const char* name, cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb,
                    int m, int n, const T* alpha, const T* A, int lda, const T* beta, const T* B,
                    int ldb, T* C, int ldc) {
  return blas_call(name, h, [&](stream& s) {
    check_scalar(alpha);
    check_scalar(beta);
    expect(C != A || (ta == CUBLAS_OP_N && lda == ldc), "C is A, which is transposed");
    expect(C != B || (tb == CUBLAS_OP_N && ldb == ldc), "C is B, which is transposed");
    const auto a = ta == CUBLAS_OP_N ? matrix("A", A, m, n, lda) : matrix("A", A, n, m, lda);
    const auto b = tb == CUBLAS_OP_N ? matrix("B", B, m, n, ldb) : matrix("B", B, n, m, ldb);
    const auto c = matrix("C", C, m, n, ldc);
    machine::get().enqueue(s, [=, x = *alpha, y = *beta] {
      const auto term = [](T scale, cublasOperation_t t, const T* p, long ld, long i, long j) {
        return scale == T(0) ? T(0) : scale * (t == CUBLAS_OP_N ? p[i + j * ld] : p[j + i * ld]);
      };
      for (long j = 0; j < n; ++j) {
        for (long i = 0; i < m; ++i) {
          c.reach()[i + j * long(ldc)] =
              term(x, ta, a.reach(), lda, i, j) + term(y, tb, b.reach(), ldb, i, j);
        }
      }
    });
  });
}

// Entries of either type, widened.
std::vector<float> widened(const void* p, bool into_half, std::size_t count) {
  std::vector<float> v(count);
  for (std::size_t i = 0; i < count; ++i) {
    v[i] = into_half ? __bfloat162float(static_cast<const __nv_bfloat16*>(p)[i])
                     : static_cast<const float*>(p)[i];
  }
  return v;
}

// A product of bfloat16 with sums in float.
struct half_product {
  char ta, tb;
  int m, n, k, lda, ldb, ldc;
  float alpha, beta;

  operand<const __nv_bfloat16> left(const __nv_bfloat16* A) const {
    return ta == 'N' ? matrix("A", A, m, k, lda) : matrix("A", A, k, m, lda);
  }
  operand<const __nv_bfloat16> right(const __nv_bfloat16* B) const {
    return tb == 'N' ? matrix("B", B, k, n, ldb) : matrix("B", B, n, k, ldb);
  }
  template <class C>
  void compute(const operand<const __nv_bfloat16>& a, const operand<const __nv_bfloat16>& b,
               const operand<C>& c, bool into_half) const {
    const auto wide_a = widened(a.reach(), true, a.bytes / 2);
    const auto wide_b = widened(b.reach(), true, b.bytes / 2);
    auto wide_c = widened(c.reach(), into_half, c.bytes / sizeof(C));
    lapack<float>::gemm(&ta, &tb, &m, &n, &k, &alpha, wide_a.data(), &lda, wide_b.data(), &ldb,
                        &beta, wide_c.data(), &ldc);
    for (long j = 0; j < n; ++j) {
      for (long i = 0; i < m; ++i) {
        const long at = i + j * long(ldc);
        c.reach()[at] = C(wide_c[std::size_t(at)]);
      }
    }
  }
};

}  // namespace

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t* h) {
  return call("cublasCreate", usual, [&] {
    *h = new cublasContext;
    machine::get().handles.insert(*h);
  });
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t h) {
  return release_call("cublasDestroy", usual, [&] {
    expect(machine::get().handles.erase(h) == 1, "no such handle");
    delete h;
  });
}
cublasStatus_t cublasSetStream_v2(cublasHandle_t h, cudaStream_t s) {
  return blas_call("cublasSetStream", h, [&](stream&) {
    h->work = &machine::get().find_stream(s);
    h->workspace.bytes = 0;  // as the library does
    machine::get().cublas_workspace = 0;
  });
}
cublasStatus_t cublasSetMathMode(cublasHandle_t h, cublasMath_t math) {
  return blas_call("cublasSetMathMode", h, [&](stream&) { h->math = math; });
}
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t h, void* p, size_t bytes) {
  return blas_call("cublasSetWorkspace", h, [&](stream&) {
    h->workspace = {static_cast<char*>(p), bytes, "the workspace"};
    h->workspace.reach();
    machine::get().cublas_workspace = bytes;
  });
}
const char* cublasGetStatusName(cublasStatus_t s) {
  return s == CUBLAS_STATUS_ALLOC_FAILED       ? "CUBLAS_STATUS_ALLOC_FAILED"
         : s == CUBLAS_STATUS_EXECUTION_FAILED ? "CUBLAS_STATUS_EXECUTION_FAILED"
                                               : "a cuBLAS status";
}

#define CUDA_DOUBLE_CUBLAS(S, T)                                                                   \
  cublasStatus_t cublas##S##gemm_v2(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb,  \
                                    int m, int n, int k, const T* alpha, const T* A, int lda,      \
                                    const T* B, int ldb, const T* beta, T* C, int ldc) {           \
    return gemm<T>("cublas<t>gemm", h, ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc);      \
  }                                                                                                \
  cublasStatus_t cublas##S##gemmBatched(cublasHandle_t h, cublasOperation_t ta,                    \
                                        cublasOperation_t tb, int m, int n, int k, const T* alpha, \
                                        const T* const A[], int lda, const T* const B[], int ldb,  \
                                        const T* beta, T* const C[], int ldc, int count) {         \
    return gemm_batched<T>(h, ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc, count);        \
  }                                                                                                \
  cublasStatus_t cublas##S##syrk_v2(cublasHandle_t h, cublasFillMode_t triangle,                   \
                                    cublasOperation_t t, int n, int k, const T* alpha, const T* A, \
                                    int lda, const T* beta, T* C, int ldc) {                       \
    return syrk<T>("cublas<t>syrk", h, triangle, t, n, k, alpha, A, lda, beta, C, ldc);            \
  }                                                                                                \
  cublasStatus_t cublas##S##trsm_v2(cublasHandle_t h, cublasSideMode_t side,                       \
                                    cublasFillMode_t triangle, cublasOperation_t t,                \
                                    cublasDiagType_t diagonal, int m, int n, const T* alpha,       \
                                    const T* A, int lda, T* B, int ldb) {                          \
    return trsm<T>("cublas<t>trsm", h, side, triangle, t, diagonal, m, n, alpha, A, lda, B, ldb);  \
  }                                                                                                \
  cublasStatus_t cublas##S##geam(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb,     \
                                 int m, int n, const T* alpha, const T* A, int lda, const T* beta, \
                                 const T* B, int ldb, T* C, int ldc) {                             \
    return geam<T>("cublas<t>geam", h, ta, tb, m, n, alpha, A, lda, beta, B, ldb, C, ldc);         \
  }
CUDA_DOUBLE_CUBLAS(S, float)
CUDA_DOUBLE_CUBLAS(D, double)
#undef CUDA_DOUBLE_CUBLAS

// Products of bfloat16 with sums in float, into either type.
cublasStatus_t cublasGemmEx(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m,
                            int n, int k, const void* alpha, const void* A, cudaDataType a_type,
                            int lda, const void* B, cudaDataType b_type, int ldb, const void* beta,
                            void* C, cudaDataType c_type, int ldc, cublasComputeType_t compute,
                            cublasGemmAlgo_t) {
  return blas_call("cublasGemmEx", h, [&](stream& s) {
    expect(a_type == CUDA_R_16BF && b_type == CUDA_R_16BF, "A and B are not both bfloat16");
    expect(c_type == CUDA_R_16BF || c_type == CUDA_R_32F, "C is neither bfloat16 nor float");
    expect(compute == CUBLAS_COMPUTE_32F, "sums are not in float");
    expect(k > 0, "the inner dimension is not positive");
    check_scalar(static_cast<const float*>(alpha));
    check_scalar(static_cast<const float*>(beta));
    const bool into_half = c_type == CUDA_R_16BF;
    const half_product product{letter(ta),
                               letter(tb),
                               m,
                               n,
                               k,
                               lda,
                               ldb,
                               ldc,
                               *static_cast<const float*>(alpha),
                               *static_cast<const float*>(beta)};
    const auto* pa = static_cast<const __nv_bfloat16*>(A);
    const auto* pb = static_cast<const __nv_bfloat16*>(B);
    const auto c16 = matrix("C", static_cast<__nv_bfloat16*>(C), into_half ? m : 0, n, ldc);
    const auto c32 = matrix("C", static_cast<float*>(C), into_half ? 0 : m, n, ldc);
    const auto a = product.left(pa);
    const auto b = product.right(pb);
    machine::get().enqueue(s, [=] {
      if (into_half) {
        product.compute(a, b, c16, true);
      } else {
        product.compute(a, b, c32, false);
      }
    });
  });
}

// Many of them, into bfloat16.
cublasStatus_t cublasGemmBatchedEx(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb,
                                   int m, int n, int k, const void* alpha, const void* const A[],
                                   cudaDataType_t a_type, int lda, const void* const B[],
                                   cudaDataType_t b_type, int ldb, const void* beta,
                                   void* const C[], cudaDataType_t c_type, int ldc, int count,
                                   cublasComputeType_t compute, cublasGemmAlgo_t) {
  return blas_call("cublasGemmBatchedEx", h, [&](stream& s) {
    expect(a_type == CUDA_R_16BF && b_type == CUDA_R_16BF && c_type == CUDA_R_16BF,
           "A, B and C are not all bfloat16");
    expect(compute == CUBLAS_COMPUTE_32F, "sums are not in float");
    expect(k > 0 && count >= 0, "the inner dimension is not positive, or the count is negative");
    check_scalar(static_cast<const float*>(alpha));
    check_scalar(static_cast<const float*>(beta));
    const half_product product{letter(ta),
                               letter(tb),
                               m,
                               n,
                               k,
                               lda,
                               ldb,
                               ldc,
                               *static_cast<const float*>(alpha),
                               *static_cast<const float*>(beta)};
    const auto left = matrix("the pointers to A", A, count, 1, count);
    const auto right = matrix("the pointers to B", B, count, 1, count);
    const auto results = matrix("the pointers to C", C, count, 1, count);
    machine::get().enqueue(s, [=] {
      for (long i = 0; i < count; ++i) {
        const auto* a = static_cast<const __nv_bfloat16*>(left.reach()[i]);
        const auto* b = static_cast<const __nv_bfloat16*>(right.reach()[i]);
        auto* c = static_cast<__nv_bfloat16*>(results.reach()[i]);
        product.compute(product.left(a), product.right(b), matrix("C", c, m, n, ldc), true);
      }
    });
  });
}

}  // extern "C"
