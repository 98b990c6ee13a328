// The truncated SVD of a product held in factors, against 60-digit arithmetic, on factors that are
// badly scaled, rank-deficient, zero, or have repeated singular values. One body for double and
// float; they are two files because Eigen's factorizations take long to compile.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <preheat/cpu/backend.hpp>
#include <preheat/linalg/factored_svd.hpp>

#include "fixtures.hpp"

namespace golden {

// The judge's arithmetic: the square of 1e-289 fits into a long double's exponent.
using wide = Eigen::Matrix<long double, Eigen::Dynamic, Eigen::Dynamic>;
inline wide widened(const dense& x) {
  return x.cast<long double>();
}

// The power of two that scales the largest entry of x to [1/2, 1); 1 for zero.
inline double power_of_two(const dense& x) {
  int exponent = 0;
  std::frexp(x.cwiseAbs().maxCoeff(), &exponent);
  return std::ldexp(1.0, exponent);
}

// How close is close: the fixtures' own measure in double. Rounding the factors to float moves
// every singular value by up to ε·‖B‖·‖A‖, which may be much more than ε·σ₁, and turns the singular
// vectors of close values by any angle; so in float best_r is not compared, but how well it
// approximates the product.
struct svd_bounds {
  double sigma;
  double residual;
  double best;
  double orthogonality;
};
template <class T>
svd_bounds bounds_of(const dense& B, const dense& A, double sigma_1,
                     preheat::linalg::factored_form form) {
  // The Gram form takes singular values down to 1/64 of the largest; its V errs as ε·σ₁/σ.
  const bool qr = form == preheat::linalg::factored_form::qr;
  const double epsilon = std::numeric_limits<T>::epsilon();
  const double orthogonality = (qr ? 64 : 8 * 64) * epsilon;
  if (std::is_same_v<T, double>) {
    return {.sigma = 1e-14 * sigma_1 * double(B.cols()),
            .residual = 1e-13 * sigma_1,
            .best = 1e-10 * sigma_1,
            .orthogonality = orthogonality};
  }
  const double reach = 64 * epsilon * B.norm() * A.norm();
  return {.sigma = reach,
          .residual = reach,
          .best = std::numeric_limits<double>::infinity(),
          .orthogonality = orthogonality};
}

// The factored SVD of a fixture's product, in the scalar T.
template <class T>
class product_svd {
 public:
  explicit product_svd(const fixture& recorded)
      : file_(recorded),
        B_(file_.matrix("B")),
        A_(file_.matrix("A")),
        sigma_(file_.matrix("sigma")),
        ranks_(file_.param<std::vector<index_t>>("ranks")) {
    REQUIRE_FALSE(ranks_.empty());
    REQUIRE(sigma_.rows() == std::min({B_.rows(), A_.cols(), B_.cols()}));
  }

  // At all ranks of the fixture, and at the largest that there is.
  void check(preheat::linalg::factored_form form) const {
    for (const index_t r : ranks_) {
      check_rank(r, form);
      check_best(r, form);
    }
    check_rank(sigma_.rows(), form);
  }

 private:
  using backend_type = preheat::cpu<T>;
  struct triplets {
    dense U, sigma, V;
  };

  // Numbers such as 1e-289 do not fit into a float: factors are scaled by powers of two before, and
  // singular values after. In double that would hide a fault, so there they are taken as they are.
  triplets decompose(index_t r, preheat::linalg::factored_form form) const {
    constexpr bool scaled = !std::is_same_v<T, double>;
    const double scale_b = scaled ? power_of_two(B_) : 1;
    const double scale_a = scaled ? power_of_two(A_) : 1;
    backend_type be;
    const preheat::mat<backend_type> B(dense(B_ / scale_b));
    const preheat::mat<backend_type> A(dense(A_ / scale_a));
    const preheat::generator gen(1);
    const auto svd = preheat::linalg::factored_svd<backend_type>(be, B, A, r, gen, form);
    return {host(be, svd.U), host(be, svd.S) * scale_b * scale_a, host(be, svd.V)};
  }

  // The singular values, and that the vectors are orthonormal.
  void check_rank(index_t r, preheat::linalg::factored_form form) const {
    const triplets svd = decompose(r, form);
    const svd_bounds allowed = bounds_of<T>(B_, A_, sigma_(0, 0), form);
    const std::string at = " at rank " + std::to_string(r);
    const dense identity = dense::Identity(r, r);
    check_within(file_, "sigma" + at, svd.sigma, sigma_.topRows(r), allowed.sigma);
    check_within(file_, "columns of U" + at, svd.U.transpose().lazyProduct(svd.U), identity,
                 allowed.orthogonality);
    check_within(file_, "columns of V" + at, svd.V.transpose().lazyProduct(svd.V), identity,
                 allowed.orthogonality);
  }

  // The product of rank r, and what it leaves of B·A.
  void check_best(index_t r, preheat::linalg::factored_form form) const {
    const triplets svd = decompose(r, form);
    const svd_bounds allowed = bounds_of<T>(B_, A_, sigma_(0, 0), form);
    const std::string rank = std::to_string(r);
    const wide scaled_U = widened(svd.U) * widened(svd.sigma).asDiagonal();
    const wide found = scaled_U.lazyProduct(widened(svd.V).transpose());
    const wide left = widened(B_).lazyProduct(widened(A_)) - found;
    check_within(file_, "residual_" + rank, dense::Constant(1, 1, double(left.norm())),
                 dense::Constant(1, 1, file_.scalar("residual_" + rank)), allowed.residual);

    const std::string best = "best_" + rank;
    const bool unique = file_.param<bool>("unique/" + rank);
    CHECK(file_.contains(best) == unique);
    if (unique) {
      check_within(file_, best, found.template cast<double>(), file_.matrix(best), allowed.best);
    }
  }

  const fixture& file_;
  dense B_, A_, sigma_;
  std::vector<index_t> ranks_;
};

// The form that the library chooses, and the safe one.
template <class T>
void check_factored_svd(const std::string& name) {
  const fixture file(name);
  const product_svd<T> svd(file);
  svd.check(preheat::linalg::factored_form::automatic);
  svd.check(preheat::linalg::factored_form::qr);
}

}  // namespace golden
