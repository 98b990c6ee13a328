// Products and factorizations by Eigen's matrix product alone: the complete fallback when no BLAS is
// installed. The factorizations are made of products and loops (triangular.hpp, householder.hpp,
// implicit_qr.hpp, jacobi_svd.hpp): a few small functions over views, which compile in a second;
// Eigen's own templates for them took a minute and 1.7 GB.
#pragma once
#include <string>

#include "eigen_products.hpp"
#include "householder.hpp"
#include "implicit_qr.hpp"
#include "jacobi_svd.hpp"
#include "triangular.hpp"

namespace preheat {

struct eigen_kernels {
  static std::string describe() {
    return "Eigen " + std::to_string(EIGEN_WORLD_VERSION) + "." +
           std::to_string(EIGEN_MAJOR_VERSION) + "." + std::to_string(EIGEN_MINOR_VERSION);
  }

  // c = alpha·op(a)·op(b) + beta·c
  template <class T>
  static void gemm(T alpha, transpose ta, view<const T> a, transpose tb, view<const T> b, T beta,
                   view<T> c) {
    eigen_products::gemm<T>(alpha, ta, a, tb, b, beta, c);
  }
  // c = a·aᵀ + beta·c or aᵀ·a + beta·c, both triangles; c is symmetric or ignored (beta = 0)
  template <class T>
  static void gram(transpose t, view<const T> a, T beta, view<T> c) {
    eigen_products::gram<T>(t, a, beta, c);
  }
  template <class T>
  static bool cholesky(view<T> g) {
    return triangular::cholesky<T>(g);
  }
  template <class T>
  static void solve_upper(transpose t, view<const T> r, view<T> x) {
    triangular::solve_upper<T>(t, r, x);
  }
  template <class T>
  static qr_result<cpu_matrix<T>> qr(view<const T> a) {
    return householder::qr<T>(a);
  }
  template <class T>
  static svd_result<cpu_matrix<T>> svd(view<const T> a) {
    return jacobi::svd<T>(a);
  }
  template <class T>
  static eigh_result<cpu_matrix<T>> eigh(view<const T> a) {
    return implicit_qr::eigh<T>(a);
  }
  template <class T>
  static eigh_result<cpu_matrix<T>> eigh_largest(view<const T> a, index_t) {
    return eigh(a);  // there is no partial solver
  }
};

}  // namespace preheat
