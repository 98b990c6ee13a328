// Products and factorizations by the system's BLAS and LAPACK. Included when the build found them
// (PREHEAT_SYSTEM_BLAS); a direct call compiles in no time, and OpenBLAS reaches about 90 % of the
// machine's peak. Errors: a negative or unexpected info throws library_error with the routine's
// name.
#pragma once
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "../core/shapes.hpp"
#include "copies.hpp"
#include "matrix.hpp"

namespace preheat::lapack {

// Fortran's calling convention, with the hidden lengths of character arguments.
using length = std::size_t;
extern "C" {
#define PREHEAT_DECLARE_LAPACK(P, T)                                                              \
  void P##gemm_(const char*, const char*, const int*, const int*, const int*, const T*, const T*, \
                const int*, const T*, const int*, const T*, T*, const int*, length, length);      \
  void P##syrk_(const char*, const char*, const int*, const int*, const T*, const T*, const int*, \
                const T*, T*, const int*, length, length);                                        \
  void P##trsm_(const char*, const char*, const char*, const char*, const int*, const int*,       \
                const T*, const T*, const int*, T*, const int*, length, length, length, length);  \
  void P##potrf_(const char*, const int*, T*, const int*, int*, length);                          \
  void P##geqrf_(const int*, const int*, T*, const int*, T*, T*, const int*, int*);               \
  void P##orgqr_(const int*, const int*, const int*, T*, const int*, const T*, T*, const int*,    \
                 int*);                                                                           \
  void P##gesdd_(const char*, const int*, const int*, T*, const int*, T*, T*, const int*, T*,     \
                 const int*, T*, const int*, int*, int*, length);                                 \
  void P##gesvd_(const char*, const char*, const int*, const int*, T*, const int*, T*, T*,        \
                 const int*, T*, const int*, T*, const int*, int*, length, length);               \
  void P##syevr_(const char*, const char*, const char*, const int*, T*, const int*, const T*,     \
                 const T*, const int*, const int*, const T*, int*, T*, T*, const int*, int*, T*,  \
                 const int*, int*, const int*, int*, length, length, length);                     \
  void P##syevd_(const char*, const char*, const int*, T*, const int*, T*, T*, const int*, int*,  \
                 const int*, int*, length, length);
PREHEAT_DECLARE_LAPACK(s, float)
PREHEAT_DECLARE_LAPACK(d, double)
#undef PREHEAT_DECLARE_LAPACK

// Present in OpenBLAS only.
[[gnu::weak]] char* openblas_get_config();
[[gnu::weak]] char* openblas_get_corename();
[[gnu::weak]] void openblas_set_num_threads(int);
}

// The routines of one scalar type.
template <class T>
struct routines;
#define PREHEAT_LAPACK_ROUTINES(P, T)         \
  template <>                                 \
  struct routines<T> {                        \
    static constexpr auto gemm = &P##gemm_;   \
    static constexpr auto syrk = &P##syrk_;   \
    static constexpr auto trsm = &P##trsm_;   \
    static constexpr auto potrf = &P##potrf_; \
    static constexpr auto geqrf = &P##geqrf_; \
    static constexpr auto orgqr = &P##orgqr_; \
    static constexpr auto gesdd = &P##gesdd_; \
    static constexpr auto gesvd = &P##gesvd_; \
    static constexpr auto syevd = &P##syevd_; \
    static constexpr auto syevr = &P##syevr_; \
    static constexpr const char* prefix = #P; \
  }
PREHEAT_LAPACK_ROUTINES(s, float);
PREHEAT_LAPACK_ROUTINES(d, double);
#undef PREHEAT_LAPACK_ROUTINES

// A dimension as BLAS's 32-bit integer.
[[gnu::noinline]] inline int to_int(index_t n) {
  require(n <= std::numeric_limits<int>::max(), "a BLAS dimension fits 32 bits", n,
          std::numeric_limits<int>::max());
  return int(n);
}
[[gnu::cold, gnu::noinline]] inline void check(int info, const char* prefix, const char* routine) {
  if (info != 0) {
    throw library_error(std::string("LAPACK ") + prefix + routine + " returned info " +
                        detail::shown_number(info).text());
  }
}
// The workspace size that LAPACK answered, which it returns as a floating-point number.
template <class T>
int workspace_size(T answer) {
  return int(answer * T(1.001)) + 1;
}

}  // namespace preheat::lapack

namespace preheat {

struct blas_kernels {
  // The library, its version and the processor family whose kernels it runs: an OpenBLAS older than
  // the processor falls back to slow ones, and OPENBLAS_CORETYPE=SkylakeX (say) helps.
  [[gnu::cold]] static std::string describe() {
    if (lapack::openblas_get_config == nullptr || lapack::openblas_get_corename == nullptr) {
      return "system BLAS and LAPACK";
    }
    const std::string config = lapack::openblas_get_config();  // "OpenBLAS 0.3.21 NO_LAPACKE …"
    const std::size_t version_end = config.find(' ', config.find(' ') + 1);
    return config.substr(0, version_end) + ", " + lapack::openblas_get_corename() + " kernels";
  }

  template <class T>
  static void gemm(T alpha, transpose ta, view<const T> a, transpose tb, view<const T> b, T beta,
                   view<T> c) {
    const int m = lapack::to_int(c.rows());
    const int n = lapack::to_int(c.cols());
    const int k = lapack::to_int(cols_of(ta, a));
    const int lda = lapack::to_int(std::max<index_t>(a.ld(), 1));
    const int ldb = lapack::to_int(std::max<index_t>(b.ld(), 1));
    const int ldc = lapack::to_int(std::max<index_t>(c.ld(), 1));
    lapack::routines<T>::gemm(letter(ta), letter(tb), &m, &n, &k, &alpha, a.data(), &lda, b.data(),
                              &ldb, &beta, c.data(), &ldc, 1, 1);
  }

  // c = a·aᵀ + beta·c or aᵀ·a + beta·c, both triangles; c is symmetric or ignored (beta = 0)
  template <class T>
  static void gram(transpose t, view<const T> a, T beta, view<T> c) {
    const int n = lapack::to_int(c.rows());
    const int k = lapack::to_int(cols_of(t, a));
    const int lda = lapack::to_int(std::max<index_t>(a.ld(), 1));
    const int ldc = lapack::to_int(std::max<index_t>(c.ld(), 1));
    const T one = 1;
    lapack::routines<T>::syrk("U", letter(t), &n, &k, &one, a.data(), &lda, &beta, c.data(), &ldc,
                              1, 1);
    mirror_upper_triangle(c);
  }

  template <class T>
  static bool cholesky(view<T> g) {
    const int n = lapack::to_int(g.rows());
    const int ld = lapack::to_int(std::max<index_t>(g.ld(), 1));
    int info = 0;
    lapack::routines<T>::potrf("U", &n, g.data(), &ld, &info, 1);
    if (info < 0) {
      lapack::check(info, lapack::routines<T>::prefix, "potrf");
    }
    clear_below_diagonal(g);
    return info == 0;
  }

  template <class T>
  static void solve_upper(transpose t, view<const T> r, view<T> x) {
    const int m = lapack::to_int(x.rows());
    const int n = lapack::to_int(x.cols());
    const int ldr = lapack::to_int(std::max<index_t>(r.ld(), 1));
    const int ldx = lapack::to_int(std::max<index_t>(x.ld(), 1));
    const T one = 1;
    lapack::routines<T>::trsm("L", "U", letter(t), "N", &m, &n, &one, r.data(), &ldr, x.data(),
                              &ldx, 1, 1, 1, 1);
  }

  template <class T>
  [[gnu::cold]] static qr_result<cpu_matrix<T>> qr(view<const T> a) {
    using routine = lapack::routines<T>;
    const index_t k = std::min(a.rows(), a.cols());
    cpu_matrix<T> H = copy_of(a);  // Householder vectors below R
    const int m = lapack::to_int(a.rows());
    const int n = lapack::to_int(a.cols());
    const int reflectors = lapack::to_int(k);
    const int ldh = lapack::to_int(H.ld());
    std::vector<T> tau(std::size_t(std::max<index_t>(k, 1)));
    int info = 0;
    int size = -1;
    T answer = 0;
    routine::geqrf(&m, &n, H.data(), &ldh, tau.data(), &answer, &size, &info);
    size = lapack::workspace_size(answer);
    std::vector<T> work(static_cast<std::size_t>(size));
    routine::geqrf(&m, &n, H.data(), &ldh, tau.data(), work.data(), &size, &info);
    lapack::check(info, routine::prefix, "geqrf");

    const view<const T> reflected(H);
    cpu_matrix<T> R = copy_of(reflected.row_range(0, k));
    clear_below_diagonal(view<T>(R));
    cpu_matrix<T> Q = k == a.cols() ? std::move(H) : copy_of(reflected.col_range(0, k));
    const int ldq = lapack::to_int(Q.ld());
    size = -1;
    routine::orgqr(&m, &reflectors, &reflectors, Q.data(), &ldq, tau.data(), &answer, &size, &info);
    size = lapack::workspace_size(answer);
    work = std::vector<T>(static_cast<std::size_t>(size));
    routine::orgqr(&m, &reflectors, &reflectors, Q.data(), &ldq, tau.data(), work.data(), &size,
                   &info);
    lapack::check(info, routine::prefix, "orgqr");
    return {std::move(Q), std::move(R)};
  }

  // Divide and conquer; in the rare case that it does not converge, QR iteration.
  template <class T>
  [[gnu::cold]] static svd_result<cpu_matrix<T>> svd(view<const T> a) {
    using routine = lapack::routines<T>;
    const index_t k = std::min(a.rows(), a.cols());
    const int m = lapack::to_int(a.rows());
    const int n = lapack::to_int(a.cols());
    cpu_matrix<T> X = copy_of(a);
    cpu_matrix<T> U(a.rows(), k);
    cpu_matrix<T> S(k, 1);
    cpu_matrix<T> Vt(k, a.cols());
    const int ldx = lapack::to_int(X.ld());
    const int ldu = lapack::to_int(U.ld());
    const int ldv = lapack::to_int(Vt.ld());
    std::vector<int> integers(std::size_t(8 * k + 1));
    int info = 0;
    int size = -1;
    T answer = 0;
    routine::gesdd("S", &m, &n, X.data(), &ldx, S.data(), U.data(), &ldu, Vt.data(), &ldv, &answer,
                   &size, integers.data(), &info, 1);
    size = lapack::workspace_size(answer);
    std::vector<T> work(static_cast<std::size_t>(size));
    routine::gesdd("S", &m, &n, X.data(), &ldx, S.data(), U.data(), &ldu, Vt.data(), &ldv,
                   work.data(), &size, integers.data(), &info, 1);
    if (info > 0) {
      copy_columns(a, view<T>(X));
      size = -1;
      routine::gesvd("S", "S", &m, &n, X.data(), &ldx, S.data(), U.data(), &ldu, Vt.data(), &ldv,
                     &answer, &size, &info, 1, 1);
      size = lapack::workspace_size(answer);
      work = std::vector<T>(static_cast<std::size_t>(size));
      routine::gesvd("S", "S", &m, &n, X.data(), &ldx, S.data(), U.data(), &ldu, Vt.data(), &ldv,
                     work.data(), &size, &info, 1, 1);
    }
    lapack::check(info, routine::prefix, "gesdd/gesvd");
    return {std::move(U), std::move(S), transposed_copy_of(view<const T>(Vt))};
  }

  template <class T>
  [[gnu::cold]] static eigh_result<cpu_matrix<T>> eigh(view<const T> a) {
    using routine = lapack::routines<T>;
    cpu_matrix<T> vectors = copy_of(a);
    cpu_matrix<T> values(a.rows(), 1);
    const int n = lapack::to_int(a.rows());
    const int ld = lapack::to_int(vectors.ld());
    int info = 0;
    int size = -1;
    int integer_size = -1;
    T answer = 0;
    int integer_answer = 0;
    routine::syevd("V", "U", &n, vectors.data(), &ld, values.data(), &answer, &size,
                   &integer_answer, &integer_size, &info, 1, 1);
    size = lapack::workspace_size(answer);
    integer_size = integer_answer;
    std::vector<T> work(static_cast<std::size_t>(size));
    std::vector<int> integers(static_cast<std::size_t>(integer_size));
    routine::syevd("V", "U", &n, vectors.data(), &ld, values.data(), work.data(), &size,
                   integers.data(), &integer_size, &info, 1, 1);
    lapack::check(info, routine::prefix, "syevd");
    return {std::move(values), std::move(vectors)};
  }

  // The k largest, by relatively robust representations; if that fails, all of them.
  template <class T>
  [[gnu::cold]] static eigh_result<cpu_matrix<T>> eigh_largest(view<const T> a, index_t k) {
    using routine = lapack::routines<T>;
    if (4 * k >= a.rows()) {
      return eigh(a);  // as fast, and yet more robust
    }
    cpu_matrix<T> X = copy_of(a);
    cpu_matrix<T> values(a.rows(), 1);
    cpu_matrix<T> vectors(a.rows(), k);
    const int n = lapack::to_int(a.rows());
    const int first = n - lapack::to_int(k) + 1;
    const int ldx = lapack::to_int(X.ld());
    const int ldv = lapack::to_int(vectors.ld());
    const T zero = 0;  // the bounds that range "I" ignores, and the default tolerance
    std::vector<int> support(std::size_t(2 * k));
    int found = 0, info = 0;
    const auto run = [&](T* work, int size, int* integers, int integer_size) {
      routine::syevr("V", "I", "U", &n, X.data(), &ldx, &zero, &zero, &first, &n, &zero, &found,
                     values.data(), vectors.data(), &ldv, support.data(), work, &size, integers,
                     &integer_size, &info, 1, 1, 1);
    };
    T answer = 0;
    int integer_answer = 0;
    run(&answer, -1, &integer_answer, -1);
    std::vector<T> work(std::size_t(lapack::workspace_size(answer)));
    std::vector<int> integers(static_cast<std::size_t>(integer_answer));
    run(work.data(), int(work.size()), integers.data(), integer_answer);
    if (info != 0 || found != k) {
      return eigh(a);
    }
    return {copy_of(view<const T>(values).row_range(0, k)), std::move(vectors)};
  }

 private:
  static const char* letter(transpose t) { return t == transpose::no ? "N" : "T"; }
};

// Sets how many threads the BLAS may use, and returns whether it has a function for that (OpenBLAS).
inline bool set_blas_threads(int threads) {
  if (lapack::openblas_set_num_threads == nullptr) {
    return false;
  }
  lapack::openblas_set_num_threads(threads);
  return true;
}

}  // namespace preheat
