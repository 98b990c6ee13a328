// Gradient flow on the problem of the theory, ½‖B·A − M‖² (Frobenius), which is ½‖W_init + B·A −
// W_target‖² with M = W_target − W_init.
//
//   B' = (M − B·A)·Aᵀ,   A' = Bᵀ·(M − B·A);   a frozen factor does not move
//
// Integrated by the pair of Dormand and Prince (order 5 with an error estimate of order 4; Journal
// of Computational and Applied Mathematics 6, 1980) with steps of adapted length.
#pragma once
#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>

namespace studies::theory {

using dense = Eigen::MatrixXd;

struct pair_of_factors {
  dense B;  // m×r
  dense A;  // r×n

  double loss(const dense& M) const { return (M - B * A).squaredNorm() / 2; }
};
inline pair_of_factors operator+(const pair_of_factors& x, const pair_of_factors& y) {
  return {x.B + y.B, x.A + y.A};
}
inline pair_of_factors operator*(double s, const pair_of_factors& x) {
  return {s * x.B, s * x.A};
}

struct gradient_flow {
  const dense& M;
  bool train_A;
  bool train_B;

  pair_of_factors operator()(const pair_of_factors& x) const {
    const dense E = M - x.B * x.A;
    return {train_B ? dense(E * x.A.transpose()) : dense::Zero(x.B.rows(), x.B.cols()),
            train_A ? dense(x.B.transpose() * E) : dense::Zero(x.A.rows(), x.A.cols())};
  }
};

// The state after `time`, to a local error of `tolerance` a step.
inline pair_of_factors integrate(const gradient_flow& flow, pair_of_factors x, double time,
                                 double tolerance = 1e-10) {
  double t = 0;
  double h = std::min(time, 0.01);
  while (t < time) {
    h = std::min(h, time - t);
    const pair_of_factors k1 = flow(x);
    const pair_of_factors k2 = flow(x + h * (1.0 / 5 * k1));
    const pair_of_factors k3 = flow(x + h * (3.0 / 40 * k1 + 9.0 / 40 * k2));
    const pair_of_factors k4 = flow(x + h * (44.0 / 45 * k1 + -56.0 / 15 * k2 + 32.0 / 9 * k3));
    const pair_of_factors k5 = flow(x + h * (19372.0 / 6561 * k1 + -25360.0 / 2187 * k2 +
                                             64448.0 / 6561 * k3 + -212.0 / 729 * k4));
    const pair_of_factors k6 =
        flow(x + h * (9017.0 / 3168 * k1 + -355.0 / 33 * k2 + 46732.0 / 5247 * k3 +
                      49.0 / 176 * k4 + -5103.0 / 18656 * k5));
    const pair_of_factors next = x + h * (35.0 / 384 * k1 + 500.0 / 1113 * k3 + 125.0 / 192 * k4 +
                                          -2187.0 / 6784 * k5 + 11.0 / 84 * k6);
    const pair_of_factors k7 = flow(next);
    const pair_of_factors error = h * (71.0 / 57600 * k1 + -71.0 / 16695 * k3 + 71.0 / 1920 * k4 +
                                       -17253.0 / 339200 * k5 + 22.0 / 525 * k6 + -1.0 / 40 * k7);
    const double size = std::max(error.B.cwiseAbs().maxCoeff(), error.A.cwiseAbs().maxCoeff());
    if (size <= tolerance) {
      t += h;
      x = next;
    }
    h *= std::clamp(0.9 * std::pow(tolerance / std::max(size, 1e-300), 0.2), 0.2, 5.0);
  }
  return x;
}

}  // namespace studies::theory
