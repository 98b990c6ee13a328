// Products and factorizations by Eigen alone: the complete fallback when no BLAS is installed.
// The SVD is Jacobi's on the square core of a QR factorization: accurate to the last singular
// value, and it compiles in 2 s where Eigen's divide-and-conquer takes 19.
#pragma once
#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <Eigen/SVD>
#include <algorithm>
#include <limits>
#include <string>

#include "matrix.hpp"

namespace preheat {

struct eigen_kernels {
  static std::string describe() {
    return "Eigen " + std::to_string(EIGEN_WORLD_VERSION) + "." +
           std::to_string(EIGEN_MAJOR_VERSION) + "." + std::to_string(EIGEN_MINOR_VERSION);
  }

  // c = alpha·op(a)·op(b) + beta·c
  template <class T>
  static void gemm(T alpha, op ta, view<const T> a, op tb, view<const T> b, T beta, view<T> c) {
    const auto A = eigen_map(a);
    const auto B = eigen_map(b);
    auto C = eigen_map(c);
    if (beta == T(0)) {
      C.setZero();
    } else if (beta != T(1)) {
      C *= beta;
    }
    if (ta == op::none && tb == op::none) {
      C.noalias() += alpha * A * B;
    } else if (ta == op::none) {
      C.noalias() += alpha * A * B.transpose();
    } else if (tb == op::none) {
      C.noalias() += alpha * A.transpose() * B;
    } else {
      C.noalias() += alpha * A.transpose() * B.transpose();
    }
  }

  // c = a·aᵀ + beta·c or aᵀ·a + beta·c, both triangles; c is symmetric or ignored (beta = 0)
  template <class T>
  static void gram(op t, view<const T> a, T beta, view<T> c) {
    const auto A = eigen_map(a);
    auto C = eigen_map(c);
    if (beta == T(0)) {
      C.setZero();
    } else if (beta != T(1)) {
      C *= beta;
    }
    if (t == op::none) {
      C.template selfadjointView<Eigen::Upper>().rankUpdate(A);
    } else {
      C.template selfadjointView<Eigen::Upper>().rankUpdate(A.transpose());
    }
    C.template triangularView<Eigen::StrictlyLower>() = C.transpose();
  }

  template <class T>
  static bool cholesky(view<T> g) {
    auto G = eigen_map(g);
    const Eigen::LLT<eigen_dense<T>, Eigen::Upper> factorization(G);
    if (factorization.info() != Eigen::Success) {
      return false;
    }
    G = factorization.matrixU();
    return true;
  }

  template <class T>
  static void solve_upper(op t, view<const T> r, view<T> x) {
    const auto R = eigen_map(r);
    auto X = eigen_map(x);
    if (t == op::none) {
      R.template triangularView<Eigen::Upper>().solveInPlace(X);
    } else {
      R.transpose().template triangularView<Eigen::Lower>().solveInPlace(X);
    }
  }

  template <class T>
  static qr_result<cpu_matrix<T>> qr(view<const T> a) {
    const index_t k = std::min(a.rows(), a.cols());
    const Eigen::HouseholderQR<eigen_dense<T>> factorization(eigen_map(a));
    cpu_matrix<T> Q(a.rows(), k);
    cpu_matrix<T> R(k, a.cols());
    Q.eigen().setIdentity();
    Q.eigen().applyOnTheLeft(factorization.householderQ());
    R.eigen() = factorization.matrixQR().topRows(k).template triangularView<Eigen::Upper>();
    return {std::move(Q), std::move(R)};
  }

  template <class T>
  static svd_result<cpu_matrix<T>> svd(view<const T> a) {
    if (a.rows() < a.cols()) {
      const cpu_matrix<T> transposed(eigen_map(a).transpose());
      svd_result<cpu_matrix<T>> d = svd(view<const T>(transposed));
      return {std::move(d.V), std::move(d.S), std::move(d.U)};
    }
    const qr_result<cpu_matrix<T>> f = qr(a);
    // The eigenvectors of RᵀR, in decreasing order, turn R into nearly orthogonal columns R·E =
    // Q₂·T, T nearly diagonal: Jacobi then has little left to rotate, and gives back what squaring
    // lost.
    const eigen_dense<T> R = f.R.eigen() / std::max(max_abs(f.R), std::numeric_limits<T>::min());
    const Eigen::SelfAdjointEigenSolver<eigen_dense<T>> squared(R.transpose() * R);
    const cpu_matrix<T> eigenvectors(squared.eigenvectors().rowwise().reverse());
    const qr_result<cpu_matrix<T>> basis = qr(view<const T>(eigenvectors));  // orthonormal to ε
    const auto E = basis.Q.eigen();
    const cpu_matrix<T> turned(f.R.eigen() * E);
    const qr_result<cpu_matrix<T>> second = qr(view<const T>(turned));
    const Eigen::JacobiSVD<eigen_dense<T>, Eigen::NoQRPreconditioner> core(
        second.R.eigen(), Eigen::ComputeFullU | Eigen::ComputeFullV);
    cpu_matrix<T> U(a.rows(), a.cols());
    cpu_matrix<T> V(a.cols(), a.cols());
    U.eigen().noalias() = f.Q.eigen() * (second.Q.eigen() * core.matrixU());
    V.eigen().noalias() = E * core.matrixV();
    return {std::move(U), cpu_matrix<T>(core.singularValues()), std::move(V)};
  }

  template <class T>
  static eigh_result<cpu_matrix<T>> eigh(view<const T> a) {
    const Eigen::SelfAdjointEigenSolver<eigen_dense<T>> solver(eigen_map(a));
    if (solver.info() != Eigen::Success) {
      throw library_error("Eigen's symmetric eigenvalue iteration did not converge");
    }
    return {cpu_matrix<T>(solver.eigenvalues()), cpu_matrix<T>(solver.eigenvectors())};
  }

  template <class T>
  static eigh_result<cpu_matrix<T>> eigh_largest(view<const T> a, index_t) {
    return eigh(a);  // Eigen has no partial solver
  }

 private:
  template <class T>
  static T max_abs(const cpu_matrix<T>& M) {
    return M.eigen().cwiseAbs().maxCoeff();
  }
};

}  // namespace preheat
