// Factorizations on the device by cuSOLVER. Each waits for its status, so none is part of a step.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "../core/types.hpp"
#include "elementwise.hpp"
#include "kernels.hpp"
#include "launch.hpp"
#include "libraries.hpp"
#include "matrix.hpp"
#include "reduction.hpp"

namespace preheat::detail {

using shared_context = std::shared_ptr<const cuda_context>;

inline cublasOperation_t operation(transpose t) {
  return t == transpose::no ? CUBLAS_OP_N : CUBLAS_OP_T;
}

// x = aᵀ
template <class T>
void cuda_transpose(const cuda_context& context, view<const T> a, view<T> x) {
  if (x.empty()) {
    return;
  }
  const T one = 1;
  const T zero = 0;
  check(cublas<T>::geam(context.blas(), CUBLAS_OP_T, CUBLAS_OP_N, library_int(x.rows()),
                        library_int(x.cols()), &one, a.data(), library_int(a.ld()), &zero, x.data(),
                        library_int(x.ld()), x.data(), library_int(x.ld())),
        "cublas<t>geam");
}
template <class T>
cuda_matrix<T> cuda_clone(const shared_context& context, transpose t, view<const T> a) {
  if (t == transpose::yes) {
    cuda_matrix<T> M(context, a.cols(), a.rows());
    cuda_transpose<T>(*context, a, M);
    return M;
  }
  cuda_matrix<T> M(context, a.rows(), a.cols());
  cuda_transfer<T>(*context, a, M, cudaMemcpyDeviceToDevice);
  return M;
}
template <class T>
void cuda_clear_below_diagonal(const cuda_context& context, view<T> x) {
  const cuda_kernels::clear_below_diagonal<T> clear{x.rows()};
  for_each_entry(context, clear, x);
}

// A power of two by which eigenvalues and singular values of `a` are found without loss: cuSOLVER, unlike
// LAPACK, squares entries as they are, so that a float loses digits below 1e-19. 1 where squares are in
// range. Waits for the device. Errors: library_error if an entry is not finite, on which cuSOLVER would spend
// seconds.
template <class T>
T cuda_scale_for_squares(const shared_context& context, view<const T> a) {
  cuda_reducer<T> reduced;
  const T largest =
      reduced(context, cuda_kernels::largest_magnitude<T>{cuda_kernels::window_of(a)}, a.size());
  if (!std::isfinite(largest)) {
    throw library_error("a factorization met an entry that is NaN or infinite");
  }
  constexpr int widest = std::numeric_limits<T>::max_exponent;
  int exponent = 0;
  std::frexp(largest, &exponent);
  return std::abs(exponent) <= widest / 4
             ? T(1)
             : std::ldexp(T(1), -std::clamp(exponent, 2 - widest, widest - 2));
}
template <class T>
void cuda_multiply(const cuda_context& context, T factor, view<T> x) {
  if (factor != T(1)) {
    for_each_entry(context, cuda_kernels::scale<T>{factor}, x);
  }
}

// The upper triangle of c = a·aᵀ (t = no) or aᵀ·a, k terms a sum. For few rows cuBLAS computes a product of both
// triangles sooner than the one triangle: 24 µs against 350 for 128 floats of 4096 terms on an H200.
template <class T>
void cuda_gram(const cuda_context& context, transpose t, view<const T> a, index_t k, view<T> c) {
  constexpr index_t few = 512;
  const T one = 1;
  const T zero = 0;
  const int n = library_int(c.rows());
  const int terms = library_int(k);
  const int lda = library_int(a.ld());
  const int ldc = library_int(c.ld());
  if (c.rows() <= few) {
    const cublasOperation_t other = t == transpose::no ? CUBLAS_OP_T : CUBLAS_OP_N;
    check(cublas<T>::gemm(context.blas(), operation(t), other, n, n, terms, &one, a.data(), lda,
                          a.data(), lda, &zero, c.data(), ldc),
          "cublas<t>gemm");
  } else {
    check(cublas<T>::syrk(context.blas(), CUBLAS_FILL_MODE_UPPER, operation(t), n, terms, &one,
                          a.data(), lda, &zero, c.data(), ldc),
          "cublas<t>syrk");
  }
}

// g = Rᵀ·R becomes R, with an info that says whether there is one; also if g is not finite, of which
// cuSOLVER says nothing.
template <class T>
void cuda_start_cholesky(const shared_context& context, view<T> g) {
  const int n = library_int(g.rows());
  const int ld = library_int(g.ld());
  int size = 0;
  check(cusolver<T>::potrf_size(context->solver(), CUBLAS_FILL_MODE_UPPER, n, g.data(), ld, &size),
        "cusolverDn<t>potrf_bufferSize");
  cuda_matrix<T> work(context, size, 1);
  check(cusolver<T>::potrf(context->solver(), CUBLAS_FILL_MODE_UPPER, n, g.data(), ld, work.data(),
                           size, context->info()),
        "cusolverDn<t>potrf");
  launch(*context, g.rows(),
         cuda_kernels::refuse_factor_that_is_not_finite<T>{
             cuda_kernels::window_of(view<const T>(g)), context->info()});
}
// False if g is not positive definite, or not finite.
template <class T>
bool cuda_cholesky(const shared_context& context, view<T> g) {
  cuda_start_cholesky(context, g);
  if (context->read_info("cusolverDn<t>potrf") > 0) {
    return false;
  }
  cuda_clear_below_diagonal(*context, g);
  return true;
}

template <class T>
qr_result<cuda_matrix<T>> cuda_qr(const shared_context& context, view<const T> a) {
  const index_t k = std::min(a.rows(), a.cols());
  const int m = library_int(a.rows());
  const int n = library_int(a.cols());
  const int rank = library_int(k);
  cuda_matrix<T> F = cuda_clone(context, transpose::no, a);
  cuda_matrix<T> tau(context, k, 1);
  const int ld = library_int(F.ld());
  int size = 0;
  check(cusolver<T>::geqrf_size(context->solver(), m, n, F.data(), ld, &size),
        "cusolverDn<t>geqrf_bufferSize");
  cuda_matrix<T> work(context, size, 1);
  check(cusolver<T>::geqrf(context->solver(), m, n, F.data(), ld, tau.data(), work.data(), size,
                           context->info()),
        "cusolverDn<t>geqrf");
  context->require_success("cusolverDn<t>geqrf");
  cuda_matrix<T> R = cuda_clone<T>(context, transpose::no, view<const T>(F).row_range(0, k));
  cuda_clear_below_diagonal<T>(*context, R);

  check(cusolver<T>::orgqr_size(context->solver(), m, rank, rank, F.data(), ld, tau.data(), &size),
        "cusolverDn<t>orgqr_bufferSize");
  work.resize(context, size, 1);
  check(cusolver<T>::orgqr(context->solver(), m, rank, rank, F.data(), ld, tau.data(), work.data(),
                           size, context->info()),
        "cusolverDn<t>orgqr");
  context->require_success("cusolverDn<t>orgqr");
  F.resize(context, a.rows(), k);  // the columns that are Q
  return {std::move(F), std::move(R)};
}

// By QR iterations, for a matrix with rows >= columns; A is overwritten.
template <class T>
svd_result<cuda_matrix<T>> cuda_gesvd(const shared_context& context, cuda_matrix<T>& A) {
  const int m = library_int(A.rows());
  const int n = library_int(A.cols());
  cuda_matrix<T> U(context, m, n);
  cuda_matrix<T> S(context, n, 1);
  cuda_matrix<T> Vt(context, n, n);
  int size = 0;
  check(cusolver<T>::gesvd_size(context->solver(), m, n, &size), "cusolverDn<t>gesvd_bufferSize");
  cuda_matrix<T> work(context, size, 1);
  check(cusolver<T>::gesvd(context->solver(), 'S', 'S', m, n, A.data(), library_int(A.ld()),
                           S.data(), U.data(), library_int(U.ld()), Vt.data(), library_int(Vt.ld()),
                           work.data(), size, nullptr, context->info()),
        "cusolverDn<t>gesvd");
  context->require_success("cusolverDn<t>gesvd");
  return {std::move(U), std::move(S), cuda_clone<T>(context, transpose::yes, Vt)};
}

// By Jacobi rotations; false if they did not converge. A is overwritten.
template <class T>
bool cuda_gesvdj(const shared_context& context, cuda_matrix<T>& A,
                 svd_result<cuda_matrix<T>>& result) {
  const int m = library_int(A.rows());
  const int n = library_int(A.cols());
  const int lda = library_int(A.ld());
  result = {{context, m, n}, {context, n, 1}, {context, n, n}};
  auto& [U, S, V] = result;
  const int ldu = library_int(U.ld());
  const int ldv = library_int(V.ld());
  cuda_handle<gesvdjInfo_t, cusolverDnDestroyGesvdjInfo> settings;
  check(cusolverDnCreateGesvdjInfo(settings.address()), "cusolverDnCreateGesvdjInfo");
  constexpr int economy = 1;
  int size = 0;
  check(
      cusolver<T>::gesvdj_size(context->solver(), CUSOLVER_EIG_MODE_VECTOR, economy, m, n, A.data(),
                               lda, S.data(), U.data(), ldu, V.data(), ldv, &size, settings),
      "cusolverDn<t>gesvdj_bufferSize");
  cuda_matrix<T> work(context, size, 1);
  check(cusolver<T>::gesvdj(context->solver(), CUSOLVER_EIG_MODE_VECTOR, economy, m, n, A.data(),
                            lda, S.data(), U.data(), ldu, V.data(), ldv, work.data(), size,
                            context->info(), settings),
        "cusolverDn<t>gesvdj");
  return context->read_info("cusolverDn<t>gesvdj") == 0;
}

// a = U·diag(S)·Vᵀ. A wide matrix is transposed, which swaps U and V.
template <class T>
svd_result<cuda_matrix<T>> cuda_thin_svd(const shared_context& context, view<const T> a) {
  const transpose turn = a.rows() < a.cols() ? transpose::yes : transpose::no;
  const T scale = cuda_scale_for_squares(context, a);
  const auto scaled_clone = [&] {
    cuda_matrix<T> A = cuda_clone(context, turn, a);
    cuda_multiply<T>(*context, scale, A);
    return A;
  };
  svd_result<cuda_matrix<T>> d;
  bool done = false;
  if (context->options().svd == cuda_svd::gesvdj) {
    cuda_matrix<T> A = scaled_clone();
    done = cuda_gesvdj(context, A, d);
  }
  if (!done) {
    cuda_matrix<T> A = scaled_clone();
    d = cuda_gesvd(context, A);
  }
  cuda_multiply<T>(*context, 1 / scale, d.S);
  if (turn == transpose::yes) {
    std::swap(d.U, d.V);
  }
  return d;
}

// Eigenvalues that differ by rounding come from cuSOLVER in any order; they become equal.
template <class T>
cuda_matrix<T> cuda_sorted(const shared_context& context, const cuda_matrix<T>& values) {
  cuda_matrix<T> sorted(context, values.rows(), 1);
  launch(*context, values.rows(), cuda_kernels::running_maximum<T>{values.data(), sorted.data()});
  return sorted;
}

// a·v = λ·v, λ increasing; a is symmetric.
template <class T>
eigh_result<cuda_matrix<T>> cuda_eigh(const shared_context& context, view<const T> a) {
  const T scale = cuda_scale_for_squares(context, a);
  cuda_matrix<T> vectors = cuda_clone(context, transpose::no, a);
  cuda_multiply<T>(*context, scale, vectors);
  const int n = library_int(a.rows());
  const int ld = library_int(vectors.ld());
  cuda_matrix<T> values(context, n, 1);
  int size = 0;
  check(cusolver<T>::syevd_size(context->solver(), CUSOLVER_EIG_MODE_VECTOR, CUBLAS_FILL_MODE_UPPER,
                                n, vectors.data(), ld, values.data(), &size),
        "cusolverDn<t>syevd_bufferSize");
  cuda_matrix<T> work(context, size, 1);
  check(cusolver<T>::syevd(context->solver(), CUSOLVER_EIG_MODE_VECTOR, CUBLAS_FILL_MODE_UPPER, n,
                           vectors.data(), ld, values.data(), work.data(), size, context->info()),
        "cusolverDn<t>syevd");
  context->require_success("cusolverDn<t>syevd");
  cuda_multiply<T>(*context, 1 / scale, values);
  return {cuda_sorted(context, values), std::move(vectors)};
}

// The same for the k largest λ only.
template <class T>
eigh_result<cuda_matrix<T>> cuda_eigh_largest(const shared_context& context, view<const T> a,
                                              index_t k) {
  const T scale = cuda_scale_for_squares(context, a);
  cuda_matrix<T> vectors = cuda_clone(context, transpose::no, a);
  cuda_multiply<T>(*context, scale, vectors);
  const int n = library_int(a.rows());
  const int ld = library_int(vectors.ld());
  const int first = library_int(a.rows() - k + 1);  // λ number first, …, n, counted from 1
  cuda_matrix<T> values(context, n, 1);
  int found = 0;  // always k, because they are selected by number
  int size = 0;
  check(cusolver<T>::syevdx_size(context->solver(), CUSOLVER_EIG_MODE_VECTOR, CUSOLVER_EIG_RANGE_I,
                                 CUBLAS_FILL_MODE_UPPER, n, vectors.data(), ld, T(0), T(0), first,
                                 n, &found, values.data(), &size),
        "cusolverDn<t>syevdx_bufferSize");
  cuda_matrix<T> work(context, size, 1);
  check(cusolver<T>::syevdx(context->solver(), CUSOLVER_EIG_MODE_VECTOR, CUSOLVER_EIG_RANGE_I,
                            CUBLAS_FILL_MODE_UPPER, n, vectors.data(), ld, T(0), T(0), first, n,
                            &found, values.data(), work.data(), size, context->info()),
        "cusolverDn<t>syevdx");
  context->require_success("cusolverDn<t>syevdx");
  values.resize(context, k, 1);  // the k values are the first ones
  cuda_multiply<T>(*context, 1 / scale, values);
  vectors.resize(context, a.rows(), k);
  return {cuda_sorted(context, values), std::move(vectors)};
}

}  // namespace preheat::detail
