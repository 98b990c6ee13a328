// The matrix problem of HRP's theory, ½‖W − B·A‖², as its fixtures give it; what hrp.cpp and
// hrp_preheated.cpp share.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <preheat/adapter/asymmetric.hpp>
#include <preheat/cpu/backend.hpp>
#include <preheat/nn/least_squares.hpp>

#include "fixtures.hpp"

namespace golden {

using cpu_double = preheat::cpu<double>;
using matrix_problem = preheat::nn::least_squares<cpu_double>;
template <preheat::parameter_role Trained>
using asymmetric = preheat::adapter::asymmetric<Trained>;

// The problem as a network: W_init = 0, the target is the fixture's W. Use it with s = 1.
inline matrix_problem problem_of(cpu_double& be, const fixture& file) {
  preheat::mat<cpu_double> target(file.matrix("W"));
  preheat::mat<cpu_double> zero = be.zeros(target.rows(), target.cols());
  return matrix_problem(be, std::move(zero), std::move(target));
}

// Gradient descent with the frozen factor orthonormal, so that all curvatures are 1, and lr = 1/2:
// the distance to the optimum halves with every step.
constexpr double half = 0.5;
constexpr index_t halvings = 60;

constexpr double loss_rtol = 1e-12;

// A loss ½‖R‖² is compared at loss_rtol, or, where it is nearly or exactly 0, at what the rounding
// of R's entries leaves of it. `magnitude` is that of the terms that R = B·A − W is the sum of.
inline void check_loss(const fixture& file, const std::string& what, double found, double expected,
                       double magnitude) {
  const double rounding = 16 * std::numeric_limits<double>::epsilon() * magnitude;
  const double unavoidable = rounding * (std::sqrt(2 * expected) + rounding);
  check_within(file, what, dense::Constant(1, 1, found), dense::Constant(1, 1, expected),
               std::max(loss_rtol * expected, unavoidable));
}

}  // namespace golden
