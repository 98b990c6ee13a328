// The kernels of a CPU backend, compiled in one place. Eigen's factorizations cost about 15 s of
// compilation for a scalar, so the tests use the kernels through these declarations; they are
// defined in kernels_float.cpp and kernels_double.cpp and do nothing but forward.
#pragma once
#include <preheat/cpu/backend.hpp>
#include <string>

namespace conformance {

using preheat::cpu_matrix;
using preheat::index_t;
using preheat::op;
using preheat::view;

template <class Kernels>
struct compiled_once {
  static std::string describe() { return Kernels::describe(); }

  template <class T>
  static void gemm(T alpha, op ta, view<const T> a, op tb, view<const T> b, T beta, view<T> c);
  template <class T>
  static void gram(op t, view<const T> a, T beta, view<T> c);
  template <class T>
  static bool cholesky(view<T> g);
  template <class T>
  static void solve_upper(op t, view<const T> r, view<T> x);
  template <class T>
  static preheat::qr_result<cpu_matrix<T>> qr(view<const T> a);
  template <class T>
  static preheat::svd_result<cpu_matrix<T>> svd(view<const T> a);
  template <class T>
  static preheat::eigh_result<cpu_matrix<T>> eigh(view<const T> a);
  template <class T>
  static preheat::eigh_result<cpu_matrix<T>> eigh_largest(view<const T> a, index_t k);
};

}  // namespace conformance
