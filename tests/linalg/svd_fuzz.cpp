// The factored and the Krylov SVD in float against double, over a thousand random problems: well
// and badly conditioned, rank-deficient, zero, of extreme scale, from 1×1 to 100000×8.
#include <preheat/linalg/krylov_svd.hpp>
#include <random>

#include "support/backends.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using dense = Eigen::MatrixXd;
constexpr double rounding = epsilon<cpu_float>;

struct problem {
  Eigen::MatrixXf B;
  Eigen::MatrixXf A;
  index_t r;
};

class problems {
 public:
  explicit problems(unsigned seed) : engine_(seed) {}

  problem draw() {
    const index_t m = between(1, 40);
    const index_t n = between(1, 40);
    const index_t R = between(1, 24);
    problem p{gaussian(m, R), gaussian(R, n), 0};
    switch (between(0, 6)) {
      case 0:  // as drawn
        break;
      case 1:  // a steep factor: columns of B fall by up to 10⁸
        p.B *= falling(R).asDiagonal();
        break;
      case 2:  // both steep, in orders that do not agree
        p.B *= falling(R).asDiagonal();
        p.A = falling(R).reverse().asDiagonal() * p.A;
        break;
      case 3:  // rank-deficient
        p.B.col(between(0, R - 1)) = p.B.col(0);
        p.A.row(between(0, R - 1)) = p.A.row(0);
        break;
      case 4:  // zero columns, or nothing but zeros
        p.B.rightCols(between(0, R)).setZero();
        break;
      case 5:  // scales whose squares leave the range of a float
        p.B *= std::pow(10.0F, float(between(-25, 15)));
        p.A *= std::pow(10.0F, float(between(-10, 15)));
        break;
      default:  // nearly the same direction in every column
        p.B = p.B.col(0) * Eigen::RowVectorXf::Ones(R) + 1e-4F * p.B;
        break;
    }
    p.r = between(1, std::min({m, n, R}));
    return p;
  }
  Eigen::MatrixXf gaussian(index_t rows, index_t cols) {
    std::normal_distribution<float> normal;
    return Eigen::MatrixXf::NullaryExpr(rows, cols, [&] { return normal(engine_); });
  }
  index_t between(index_t least, index_t most) {
    return std::uniform_int_distribution<index_t>(least, most)(engine_);
  }

 private:
  Eigen::VectorXf falling(index_t count) {
    const float digits = float(between(0, 8));
    return Eigen::VectorXf::NullaryExpr(
        count, [&](index_t i) { return std::pow(10.0F, -digits * float(i) / float(count)); });
  }
  std::mt19937 engine_;
};

// Singular values of x, in double.
dense singular_values(const dense& x) {
  eigen_double reference;
  return dense(reference.svd(mat<eigen_double>(x)).S.eigen());
}
double norm(const Eigen::MatrixXf& x) {
  return x.cast<double>().norm();
}
double orthonormality(const Eigen::MatrixXf& x) {
  const dense wide = x.cast<double>();
  return (wide.transpose() * wide - dense::Identity(x.cols(), x.cols())).cwiseAbs().maxCoeff();
}

// Singular values to rounding of ‖B‖‖A‖, orthonormal vectors, and the residual of Eckart and Young.
void check_triplets(const svd_result<mat<cpu_float>>& d, const dense& exact, const dense& sigma,
                    double size, double sloppiness) {
  const index_t r = d.S.rows();
  const Eigen::MatrixXf U = d.U.eigen();
  const Eigen::MatrixXf S = d.S.eigen();
  const Eigen::MatrixXf V = d.V.eigen();
  CHECK(U.allFinite());
  CHECK(V.allFinite());
  CHECK(orthonormality(U) < 64 * rounding);
  CHECK(orthonormality(V) < 64 * rounding);
  CHECK((S.cast<double>() - sigma.topRows(r)).cwiseAbs().maxCoeff() <= sloppiness * size);
  const dense rest =
      exact - U.cast<double>() * S.cast<double>().asDiagonal() * V.cast<double>().transpose();
  const double best = sigma.bottomRows(sigma.rows() - r).norm();
  CHECK(rest.norm() <= best + 4 * sloppiness * size);
}

}  // namespace

TEST_CASE("factored_svd: a thousand random problems in float, against double") {
  cpu_float be;
  problems source(1);
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    CAPTURE(seed);
    const problem p = source.draw();
    const dense exact = p.B.cast<double>() * p.A.cast<double>();
    const dense sigma = singular_values(exact);
    const double size = norm(p.B) * norm(p.A);
    if (!(sigma(0, 0) < 1e38)) {
      continue;  // the result itself is no float
    }
    const auto d = linalg::factored_svd<cpu_float>(be, mat<cpu_float>(p.B), mat<cpu_float>(p.A),
                                                   p.r, generator(seed));
    const double smallest_float = std::numeric_limits<float>::min();
    check_triplets(d, exact, sigma, std::max(size, smallest_float), 4 * rounding);
  }
}

TEST_CASE("factored_svd: a factor of 100000 rows, against double") {
  cpu_float be;
  problems source(2);
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const Eigen::MatrixXf B = source.gaussian(100000, 8);
    const Eigen::MatrixXf A = source.gaussian(8, 8);
    eigen_double reference;
    const auto f = reference.qr(mat<eigen_double>(B.cast<double>()));
    const dense sigma = singular_values(f.R.eigen() * A.cast<double>());
    const auto d = linalg::factored_svd<cpu_float>(be, mat<cpu_float>(B), mat<cpu_float>(A), 5,
                                                   generator(seed));
    check_triplets(d, B.cast<double>() * A.cast<double>(), sigma, norm(B) * norm(A), 4 * rounding);
  }
}

// A Krylov space of as many columns as the matrix has makes the method exact, whatever the matrix.
TEST_CASE("krylov_svd: three hundred random matrices in float, against double") {
  cpu_float be;
  problems source(3);
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    CAPTURE(seed);
    const problem p = source.draw();
    const Eigen::MatrixXf W = p.B * p.A;
    if (!W.allFinite() || W.cwiseAbs().maxCoeff() > 1e30F) {
      continue;
    }
    const dense exact = W.cast<double>();
    const double smallest_float = std::numeric_limits<float>::min();
    const auto d = linalg::krylov_svd<cpu_float>(be, mat<cpu_float>(W), p.r, {}, generator(seed));
    check_triplets(d, exact, singular_values(exact), std::max(exact.norm(), smallest_float),
                   16 * rounding);
  }
}
