// The symbols of cuSOLVER's dense part. Workspaces have odd sizes, so that they must be asked for,
// and are NaN when the function returns; so is what it destroys.
#include <cusolverDn.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "lapack.hpp"
#include "machine.hpp"

using namespace cuda_double;

struct cusolverDnContext {
  stream* work = &machine::get().default_stream;
};
struct gesvdjInfo {};

namespace {

constexpr codes<cusolverStatus_t> usual{CUSOLVER_STATUS_ALLOC_FAILED, CUSOLVER_STATUS_INVALID_VALUE,
                                        CUSOLVER_STATUS_EXECUTION_FAILED};

template <class Body>
cusolverStatus_t solver_call(const char* name, cusolverDnHandle_t h, const Body& body) {
  return call(name, usual, [&] {
    expect(machine::get().handles.count(h) == 1, "no such handle");
    body(*h->work);
  });
}

// Sizes of the workspaces, which depend on all that the functions are asked with.
int potrf_size(int n, cublasFillMode_t triangle) {
  return 3 * n + 5 + (triangle == CUBLAS_FILL_MODE_UPPER ? 2 : 0);
}
int geqrf_size(int m, int n) {
  return 2 * m + 32 * n + 7;
}
int orgqr_size(int m, int n) {
  return 5 * m + 37 * n + 11;
}
int gesvd_size(int m, int n) {
  return 5 * m + 3 * n + 13;
}
int gesvdj_size(int m, int n, cusolverEigMode_t job) {
  return 7 * m + 3 * n + 17 + (job == CUSOLVER_EIG_MODE_VECTOR ? n : 0);
}
int syevd_size(int n, cusolverEigMode_t job, cublasFillMode_t triangle) {
  return 2 * n + 19 + (job == CUSOLVER_EIG_MODE_VECTOR ? n * n : 0) +
         (triangle == CUBLAS_FILL_MODE_UPPER ? 2 : 0);
}
int syevdx_size(int n, int first, int last, cusolverEigMode_t job, cublasFillMode_t triangle) {
  return syevd_size(n, job, triangle) + 3 * (last - first + 1) + 23;
}

template <class T>
operand<T> workspace(T* work, int size, int needed) {
  expect(size >= needed, [=] {
    return "the workspace has " + std::to_string(size) + " entries, not " + std::to_string(needed);
  });
  return matrix("the workspace", work, size, 1, size);
}
void expect_upper(cublasFillMode_t triangle) {
  expect(triangle == CUBLAS_FILL_MODE_UPPER || triangle == CUBLAS_FILL_MODE_LOWER,
         "no such triangle");
}
void expect_numbers(cusolverEigRange_t range, int first, int last, int n) {
  expect(range == CUSOLVER_EIG_RANGE_I, "only eigenvalues by number are modelled");
  expect(1 <= first && first <= last && last <= n, "not 1 <= il <= iu <= n");
}
char letter(cublasFillMode_t triangle) {
  return triangle == CUBLAS_FILL_MODE_UPPER ? 'U' : 'L';
}

// What a function writes to devInfo: its own, or what a test ordered.
void write_info(const operand<int>& info, const char* name, int own) {
  const int ordered = machine::get().info_of(name);
  *info.reach() = ordered != 0 ? ordered : own;
}

template <class T>
cusolverStatus_t potrf(cusolverDnHandle_t h, cublasFillMode_t triangle, int n, T* A, int lda,
                       T* work, int size, int* devinfo) {
  const char* const name = "cusolverDn<t>potrf";
  return solver_call(name, h, [&](stream& s) {
    expect_upper(triangle);
    const auto a = matrix("A", A, n, n, lda);
    const auto w = workspace(work, size, potrf_size(n, triangle));
    const auto info = matrix("info", devinfo, 1, 1, 1);
    machine::get().enqueue(s, [=] {
      const char u = letter(triangle);
      int verdict = 0;
      bool finite = true;
      for (int j = 0; j < n; ++j) {
        for (int i = 0; i <= j; ++i) {
          finite = finite && std::isfinite(a.reach()[i + std::ptrdiff_t(j) * lda]);
        }
      }
      lapack<T>::potrf(&u, &n, a.reach(), &lda, &verdict);
      if (!finite) {  // LAPACK looks for it, and nobody has promised that cuSOLVER does
        a.reach()[(n - 1) * (std::ptrdiff_t(lda) + 1)] = std::numeric_limits<T>::quiet_NaN();
        verdict = 0;
      }
      spoil(w.reach(), w.bytes);
      write_info(info, name, verdict);
    });
  });
}

template <class T>
cusolverStatus_t geqrf(cusolverDnHandle_t h, int m, int n, T* A, int lda, T* tau, T* work, int size,
                       int* devinfo) {
  const char* const name = "cusolverDn<t>geqrf";
  return solver_call(name, h, [&](stream& s) {
    const auto a = matrix("A", A, m, n, lda);
    const auto t = matrix("tau", tau, std::min(m, n), 1, std::min(m, n));
    const auto w = workspace(work, size, geqrf_size(m, n));
    const auto info = matrix("info", devinfo, 1, 1, 1);
    machine::get().enqueue(s, [=] {
      const int needed = 64 * std::max(1, n);
      std::vector<T> mine(std::size_t(needed), T(0));
      int verdict = 0;
      lapack<T>::geqrf(&m, &n, a.reach(), &lda, t.reach(), mine.data(), &needed, &verdict);
      spoil(w.reach(), w.bytes);
      write_info(info, name, verdict);
    });
  });
}

template <class T>
cusolverStatus_t orgqr(cusolverDnHandle_t h, int m, int n, int k, T* A, int lda, const T* tau,
                       T* work, int size, int* devinfo) {
  const char* const name = "cusolverDn<t>orgqr";
  return solver_call(name, h, [&](stream& s) {
    expect(m >= n && n >= k, "not m >= n >= k");
    const auto a = matrix("A", A, m, n, lda);
    const auto t = matrix("tau", tau, k, 1, k);
    const auto w = workspace(work, size, orgqr_size(m, n));
    const auto info = matrix("info", devinfo, 1, 1, 1);
    machine::get().enqueue(s, [=] {
      const int needed = 64 * std::max(1, n);
      std::vector<T> mine(std::size_t(needed), T(0));
      int verdict = 0;
      lapack<T>::orgqr(&m, &n, &k, a.reach(), &lda, t.reach(), mine.data(), &needed, &verdict);
      spoil(w.reach(), w.bytes);
      write_info(info, name, verdict);
    });
  });
}

// The thin SVD of A, which is destroyed, as LAPACK gives it; V itself if `turned`.
template <class T>
int thin_svd(int m, int n, T* A, int lda, T* S, T* U, int ldu, T* V, int ldv, bool turned) {
  const char* const thin = "S";
  std::vector<T> vt(std::size_t(n) * std::size_t(n));
  T best = 0;
  int size = -1;
  int verdict = 0;
  lapack<T>::gesvd(thin, thin, &m, &n, A, &lda, S, U, &ldu, vt.data(), &n, &best, &size, &verdict);
  size = int(best);
  std::vector<T> work(std::size_t(size), T(0));
  lapack<T>::gesvd(thin, thin, &m, &n, A, &lda, S, U, &ldu, vt.data(), &n, work.data(), &size,
                   &verdict);
  for (long j = 0; j < n; ++j) {
    for (long i = 0; i < n; ++i) {
      V[i + j * long(ldv)] = vt[turned ? j + i * n : i + j * n];
    }
    spoil(A + j * long(lda), std::size_t(m) * sizeof(T));
  }
  return verdict;
}

template <class T>
cusolverStatus_t gesvd(cusolverDnHandle_t h, signed char u_job, signed char v_job, int m, int n,
                       T* A, int lda, T* S, T* U, int ldu, T* Vt, int ldvt, T* work, int size,
                       int* devinfo) {
  const char* const name = "cusolverDn<t>gesvd";
  return solver_call(name, h, [&](stream& s) {
    expect(m >= n, "gesvd wants m >= n");
    expect(u_job == 'S' && v_job == 'S', "only thin factors are modelled");
    const auto a = matrix("A", A, m, n, lda);
    const auto values = matrix("S", S, n, 1, n);
    const auto u = matrix("U", U, m, n, ldu);
    const auto vt = matrix("VT", Vt, n, n, ldvt);
    const auto w = workspace(work, size, gesvd_size(m, n));
    const auto info = matrix("info", devinfo, 1, 1, 1);
    machine::get().enqueue(s, [=] {
      const int verdict =
          thin_svd(m, n, a.reach(), lda, values.reach(), u.reach(), ldu, vt.reach(), ldvt, false);
      spoil(w.reach(), w.bytes);
      write_info(info, name, verdict);
    });
  });
}

template <class T>
cusolverStatus_t gesvdj(cusolverDnHandle_t h, cusolverEigMode_t job, int economy, int m, int n,
                        T* A, int lda, T* S, T* U, int ldu, T* V, int ldv, T* work, int size,
                        int* devinfo, gesvdjInfo_t parameters) {
  const char* const name = "cusolverDn<t>gesvdj";
  return solver_call(name, h, [&](stream& s) {
    expect(machine::get().handles.count(parameters) == 1, "no such parameters");
    expect(job == CUSOLVER_EIG_MODE_VECTOR && economy == 1, "only thin factors are modelled");
    expect(m >= n, "only m >= n is modelled");
    const auto a = matrix("A", A, m, n, lda);
    const auto values = matrix("S", S, n, 1, n);
    const auto u = matrix("U", U, m, n, ldu);
    const auto v = matrix("V", V, n, n, ldv);
    const auto w = workspace(work, size, gesvdj_size(m, n, job));
    const auto info = matrix("info", devinfo, 1, 1, 1);
    machine::get().enqueue(s, [=] {
      const int verdict =
          thin_svd(m, n, a.reach(), lda, values.reach(), u.reach(), ldu, v.reach(), ldv, true);
      spoil(w.reach(), w.bytes);
      write_info(info, name, verdict);
      if (*info.reach() != 0) {  // what did not converge is no result
        spoil(u.reach(), u.bytes);
        spoil(v.reach(), v.bytes);
        spoil(values.reach(), values.bytes);
      }
    });
  });
}

// All eigenvalues, increasing, and the vectors in the place of A, as LAPACK gives them.
template <class T>
int eigenpairs(cusolverEigMode_t job, cublasFillMode_t triangle, int n, T* A, int lda, T* values) {
  const char j = job == CUSOLVER_EIG_MODE_VECTOR ? 'V' : 'N';
  const char u = letter(triangle);
  const int needed = 1 + 6 * n + 2 * n * n;
  const int integers = 3 + 5 * n;
  std::vector<T> mine(std::size_t(needed), T(0));
  std::vector<int> mine_too(std::size_t(integers), 0);
  int verdict = 0;
  lapack<T>::syevd(&j, &u, &n, A, &lda, values, mine.data(), &needed, mine_too.data(), &integers,
                   &verdict);
  return verdict;
}

template <class T>
cusolverStatus_t syevd(cusolverDnHandle_t h, cusolverEigMode_t job, cublasFillMode_t triangle,
                       int n, T* A, int lda, T* values, T* work, int size, int* devinfo) {
  const char* const name = "cusolverDn<t>syevd";
  return solver_call(name, h, [&](stream& s) {
    expect_upper(triangle);
    const auto a = matrix("A", A, n, n, lda);
    const auto lambda = matrix("W", values, n, 1, n);
    const auto w = workspace(work, size, syevd_size(n, job, triangle));
    const auto info = matrix("info", devinfo, 1, 1, 1);
    machine::get().enqueue(s, [=] {
      const int verdict = eigenpairs(job, triangle, n, a.reach(), lda, lambda.reach());
      spoil(w.reach(), w.bytes);
      write_info(info, name, verdict);
    });
  });
}

// As syevd, of the eigenvalues number first to last; they and their vectors come first, and what is
// behind them means nothing.
template <class T>
cusolverStatus_t syevdx(cusolverDnHandle_t h, cusolverEigMode_t job, cusolverEigRange_t range,
                        cublasFillMode_t triangle, int n, T* A, int lda, int first, int last,
                        int* found, T* values, T* work, int size, int* devinfo) {
  const char* const name = "cusolverDn<t>syevdx";
  return solver_call(name, h, [&](stream& s) {
    expect_upper(triangle);
    expect_numbers(range, first, last, n);
    const auto a = matrix("A", A, n, n, lda);
    const auto lambda = matrix("W", values, n, 1, n);
    const auto w = workspace(work, size, syevdx_size(n, first, last, job, triangle));
    const auto info = matrix("info", devinfo, 1, 1, 1);
    *found = last - first + 1;
    machine::get().enqueue(s, [=] {
      T* const vectors = a.reach();
      T* const sizes = lambda.reach();
      const int verdict = eigenpairs(job, triangle, n, vectors, lda, sizes);
      for (long j = 0; j < n; ++j) {
        T* const column = vectors + j * long(lda);
        if (j <= last - first) {
          std::copy_n(column + (first - 1) * long(lda), n, column);
          sizes[j] = sizes[j + first - 1];
        } else {
          spoil(column, std::size_t(n) * sizeof(T));
          spoil(sizes + j, sizeof(T));
        }
      }
      spoil(w.reach(), w.bytes);
      write_info(info, name, verdict);
    });
  });
}

}  // namespace

extern "C" {

// As the real function: when it fails it leaves a handle that is alive, which has to be destroyed.
cusolverStatus_t cusolverDnCreate(cusolverDnHandle_t* h) {
  *h = new cusolverDnContext;
  machine::get().handles.insert(*h);
  return call("cusolverDnCreate", usual, [] {});
}
cusolverStatus_t cusolverDnDestroy(cusolverDnHandle_t h) {
  return release_call("cusolverDnDestroy", usual, [&] {
    expect(machine::get().handles.erase(h) == 1, "no such handle");
    delete h;
  });
}
cusolverStatus_t cusolverDnSetStream(cusolverDnHandle_t h, cudaStream_t s) {
  return solver_call("cusolverDnSetStream", h,
                     [&](stream&) { h->work = &machine::get().find_stream(s); });
}
cusolverStatus_t cusolverDnCreateGesvdjInfo(gesvdjInfo_t* p) {
  return call("cusolverDnCreateGesvdjInfo", usual, [&] {
    *p = new gesvdjInfo;
    machine::get().handles.insert(*p);
  });
}
cusolverStatus_t cusolverDnDestroyGesvdjInfo(gesvdjInfo_t p) {
  return release_call("cusolverDnDestroyGesvdjInfo", usual, [&] {
    expect(machine::get().handles.erase(p) == 1, "no such parameters");
    delete p;
  });
}

#define CUDA_DOUBLE_CUSOLVER(S, T)                                                                 \
  cusolverStatus_t cusolverDn##S##potrf_bufferSize(                                                \
      cusolverDnHandle_t h, cublasFillMode_t triangle, int n, T* A, int lda, int* size) {          \
    return solver_call("cusolverDn<t>potrf_bufferSize", h, [&](stream&) {                          \
      expect_upper(triangle);                                                                      \
      matrix("A", A, n, n, lda);                                                                   \
      *size = potrf_size(n, triangle);                                                             \
    });                                                                                            \
  }                                                                                                \
  cusolverStatus_t cusolverDn##S##potrf(cusolverDnHandle_t h, cublasFillMode_t triangle, int n,    \
                                        T* A, int lda, T* work, int size, int* info) {             \
    return potrf(h, triangle, n, A, lda, work, size, info);                                        \
  }                                                                                                \
  cusolverStatus_t cusolverDn##S##geqrf_bufferSize(cusolverDnHandle_t h, int m, int n, T* A,       \
                                                   int lda, int* size) {                           \
    return solver_call("cusolverDn<t>geqrf_bufferSize", h, [&](stream&) {                          \
      matrix("A", A, m, n, lda);                                                                   \
      *size = geqrf_size(m, n);                                                                    \
    });                                                                                            \
  }                                                                                                \
  cusolverStatus_t cusolverDn##S##geqrf(cusolverDnHandle_t h, int m, int n, T* A, int lda, T* tau, \
                                        T* work, int size, int* info) {                            \
    return geqrf(h, m, n, A, lda, tau, work, size, info);                                          \
  }                                                                                                \
  cusolverStatus_t cusolverDn##S##orgqr_bufferSize(cusolverDnHandle_t h, int m, int n, int k,      \
                                                   const T* A, int lda, const T* tau, int* size) { \
    return solver_call("cusolverDn<t>orgqr_bufferSize", h, [&](stream&) {                          \
      expect(m >= n && n >= k, "not m >= n >= k");                                                 \
      matrix("A", A, m, n, lda);                                                                   \
      matrix("tau", tau, k, 1, k);                                                                 \
      *size = orgqr_size(m, n);                                                                    \
    });                                                                                            \
  }                                                                                                \
  cusolverStatus_t cusolverDn##S##orgqr(cusolverDnHandle_t h, int m, int n, int k, T* A, int lda,  \
                                        const T* tau, T* work, int size, int* info) {              \
    return orgqr(h, m, n, k, A, lda, tau, work, size, info);                                       \
  }                                                                                                \
  cusolverStatus_t cusolverDn##S##gesvd_bufferSize(cusolverDnHandle_t h, int m, int n,             \
                                                   int* size) {                                    \
    return solver_call("cusolverDn<t>gesvd_bufferSize", h, [&](stream&) {                          \
      expect(m >= n, "gesvd wants m >= n");                                                        \
      *size = gesvd_size(m, n);                                                                    \
    });                                                                                            \
  }                                                                                                \
  cusolverStatus_t cusolverDn##S##gesvd(                                                           \
      cusolverDnHandle_t h, signed char u_job, signed char v_job, int m, int n, T* A, int lda,     \
      T* S_, T* U, int ldu, T* Vt, int ldvt, T* work, int size, T*, int* info) {                   \
    return gesvd(h, u_job, v_job, m, n, A, lda, S_, U, ldu, Vt, ldvt, work, size, info);           \
  }                                                                                                \
  cusolverStatus_t cusolverDn##S##gesvdj_bufferSize(                                               \
      cusolverDnHandle_t h, cusolverEigMode_t job, int economy, int m, int n, const T* A, int lda, \
      const T* S_, const T* U, int ldu, const T* V, int ldv, int* size, gesvdjInfo_t) {            \
    return solver_call("cusolverDn<t>gesvdj_bufferSize", h, [&](stream&) {                         \
      expect(economy == 1, "only thin factors are modelled");                                      \
      matrix("A", A, m, n, lda);                                                                   \
      matrix("S", S_, n, 1, n);                                                                    \
      matrix("U", U, m, n, ldu);                                                                   \
      matrix("V", V, n, n, ldv);                                                                   \
      *size = gesvdj_size(m, n, job);                                                              \
    });                                                                                            \
  }                                                                                                \
  cusolverStatus_t cusolverDn##S##gesvdj(cusolverDnHandle_t h, cusolverEigMode_t job, int economy, \
                                         int m, int n, T* A, int lda, T* S_, T* U, int ldu, T* V,  \
                                         int ldv, T* work, int size, int* info, gesvdjInfo_t p) {  \
    return gesvdj(h, job, economy, m, n, A, lda, S_, U, ldu, V, ldv, work, size, info, p);         \
  }                                                                                                \
  cusolverStatus_t cusolverDn##S##syevd_bufferSize(cusolverDnHandle_t h, cusolverEigMode_t job,    \
                                                   cublasFillMode_t triangle, int n, const T* A,   \
                                                   int lda, const T* W, int* size) {               \
    return solver_call("cusolverDn<t>syevd_bufferSize", h, [&](stream&) {                          \
      expect_upper(triangle);                                                                      \
      matrix("A", A, n, n, lda);                                                                   \
      matrix("W", W, n, 1, n);                                                                     \
      *size = syevd_size(n, job, triangle);                                                        \
    });                                                                                            \
  }                                                                                                \
  cusolverStatus_t cusolverDn##S##syevd(cusolverDnHandle_t h, cusolverEigMode_t job,               \
                                        cublasFillMode_t triangle, int n, T* A, int lda, T* W,     \
                                        T* work, int size, int* info) {                            \
    return syevd(h, job, triangle, n, A, lda, W, work, size, info);                                \
  }                                                                                                \
  cusolverStatus_t cusolverDn##S##syevdx_bufferSize(                                               \
      cusolverDnHandle_t h, cusolverEigMode_t job, cusolverEigRange_t range,                       \
      cublasFillMode_t triangle, int n, const T* A, int lda, T, T, int first, int last,            \
      int* found, const T* W, int* size) {                                                         \
    return solver_call("cusolverDn<t>syevdx_bufferSize", h, [&](stream&) {                         \
      expect_upper(triangle);                                                                      \
      expect_numbers(range, first, last, n);                                                       \
      matrix("A", A, n, n, lda);                                                                   \
      matrix("W", W, n, 1, n);                                                                     \
      *found = last - first + 1;                                                                   \
      *size = syevdx_size(n, first, last, job, triangle);                                          \
    });                                                                                            \
  }                                                                                                \
  cusolverStatus_t cusolverDn##S##syevdx(cusolverDnHandle_t h, cusolverEigMode_t job,              \
                                         cusolverEigRange_t range, cublasFillMode_t triangle,      \
                                         int n, T* A, int lda, T, T, int first, int last,          \
                                         int* found, T* W, T* work, int size, int* info) {         \
    return syevdx(h, job, range, triangle, n, A, lda, first, last, found, W, work, size, info);    \
  }
CUDA_DOUBLE_CUSOLVER(S, float)
CUDA_DOUBLE_CUSOLVER(D, double)
#undef CUDA_DOUBLE_CUSOLVER

}  // extern "C"
