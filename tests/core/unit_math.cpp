// The vectorizable erf and exp against the standard library in long double.
#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>
#include <limits>
#include <preheat/core/math.hpp>

namespace {

// The largest relative error of f over [from, to].
template <class F, class Exact>
double worst_error(F f, Exact exact, double from, double to) {
  double worst = 0;
  constexpr int points = 200001;
  for (int i = 0; i < points; ++i) {
    const float x = float(from + (to - from) * i / (points - 1));
    const long double truth = exact(static_cast<long double>(x));
    if (truth != 0) {
      worst = std::max(worst, double(std::abs((static_cast<long double>(f(x)) - truth) / truth)));
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("erf of a float is within 5e-7 of the exact value, relatively") {
  const auto f = [](float x) { return preheat::math::erf(x); };
  const auto exact = [](long double x) { return std::erf(x); };
  CHECK(worst_error(f, exact, -6, 6) < 5e-7);
  CHECK(worst_error(f, exact, -1e-3, 1e-3) < 5e-7);
  CHECK(preheat::math::erf(0.0F) == 0.0F);
  CHECK(std::isnan(preheat::math::erf(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("exp of a float is within 5e-7 of the exact value, relatively") {
  const auto f = [](float x) { return preheat::math::exp(x); };
  const auto exact = [](long double x) { return std::exp(x); };
  CHECK(worst_error(f, exact, -86.9, 86.9) < 5e-7);
  CHECK(preheat::math::exp(0.0F) == 1.0F);
  CHECK(preheat::math::exp(-1000.0F) >= 0.0F);
  CHECK(preheat::math::exp(-1000.0F) < 1e-37F);
  CHECK(std::isnan(preheat::math::exp(std::numeric_limits<float>::quiet_NaN())));
}
