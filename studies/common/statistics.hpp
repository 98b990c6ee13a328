// Means, spreads, and intervals by Student's t distribution.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace studies::common {

inline constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

// Σx/n; NaN for no numbers.
inline double mean(std::span<const double> x) {
  double sum = 0;
  for (const double value : x) {
    sum += value;
  }
  return x.empty() ? not_a_number : sum / double(x.size());
}

// The sample standard deviation √(Σ(x − mean)²/(n − 1)); NaN for fewer than two numbers.
inline double standard_deviation(std::span<const double> x) {
  if (x.size() < 2) {
    return not_a_number;
  }
  const double center = mean(x);
  double sum = 0;
  for (const double value : x) {
    sum += (value - center) * (value - center);
  }
  return std::sqrt(sum / double(x.size() - 1));
}

namespace detail {

// The continued fraction of the incomplete beta function (Abramowitz and Stegun 26.5.8), by the
// modified Lentz method. Converges fast for x < (a + 1)/(a + b + 2).
inline double beta_fraction(double a, double b, double x) {
  constexpr double tiny = 1e-300;
  constexpr double tolerance = 1e-16;
  constexpr int most_terms = 10000;
  const auto away_from_zero = [](double value) { return std::abs(value) < tiny ? tiny : value; };
  double c = 1;
  double d = 1 / away_from_zero(1 - (a + b) * x / (a + 1));
  double fraction = d;
  for (int k = 1; k <= most_terms; ++k) {
    const double m = k;
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away_from_zero(1 + even * d);
    c = away_from_zero(1 + even / c);
    fraction *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away_from_zero(1 + odd * d);
    c = away_from_zero(1 + odd / c);
    const double factor = d * c;
    fraction *= factor;
    if (std::abs(factor - 1) < tolerance) {
      break;
    }
  }
  return fraction;
}

}  // namespace detail

// The regularized incomplete beta function I_x(a, b), a, b > 0, with y = 1 − x given as well, so
// that neither end loses digits. Relative error about 1e-14.
inline double incomplete_beta(double a, double b, double x, double y) {
  if (x <= 0) {
    return 0;
  }
  if (y <= 0) {
    return 1;
  }
  const double logarithm =
      std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log(y);
  if (x < (a + 1) / (a + b + 2)) {
    return std::exp(logarithm) * detail::beta_fraction(a, b, x) / a;
  }
  return 1 - std::exp(logarithm) * detail::beta_fraction(b, a, y) / b;
}

// P(|T| > t) for Student's t distribution with ν degrees of freedom, t >= 0:
// I_x(ν/2, ½) with x = ν/(ν + t²).
inline double t_two_sided_tail(double t, double degrees) {
  const double square = t * t;
  const double whole = degrees + square;
  return incomplete_beta(degrees / 2, 0.5, degrees / whole, square / whole);
}

// The t with P(|T| <= t) = confidence, by bisection down to neighbouring doubles.
// Throws std::invalid_argument unless degrees > 0 and 0 < confidence < 1.
inline double t_quantile(double degrees, double confidence = 0.95) {
  if (!(degrees > 0) || !(confidence > 0 && confidence < 1)) {
    throw std::invalid_argument("t_quantile: degrees > 0 and 0 < confidence < 1 (" +
                                std::to_string(degrees) + ", " + std::to_string(confidence) + ")");
  }
  const double tail = 1 - confidence;
  double low = 0;
  double high = 1;
  while (t_two_sided_tail(high, degrees) > tail) {
    low = high;
    high *= 2;
  }
  while (true) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) {
      return middle;
    }
    (t_two_sided_tail(middle, degrees) > tail ? low : high) = middle;
  }
}

// Spearman's rank correlation: that of the ranks, where equal numbers share the mean of theirs. NaN
// for fewer than two numbers, or if all of one kind are equal.
inline double rank_correlation(std::span<const double> x, std::span<const double> y) {
  const auto ranks = [](std::span<const double> values) {
    std::vector<double> result;
    for (const double v : values) {
      double below = 0, equal = 0;
      for (const double other : values) {
        below += other < v;
        equal += other == v;
      }
      result.push_back(below + (equal - 1) / 2);
    }
    return result;
  };
  const std::vector<double> a = ranks(x), b = ranks(y);
  const double center_a = mean(a), center_b = mean(b);
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - center_a) * (b[i] - center_b);
    aa += (a[i] - center_a) * (a[i] - center_a);
    bb += (b[i] - center_b) * (b[i] - center_b);
  }
  return ab / std::sqrt(aa * bb);
}

// A mean with the half width of its two-sided t-interval: half = t·s/√n, NaN for n < 2, when
// nothing is known about the spread.
struct estimate {
  double mean = not_a_number;
  double half = not_a_number;
};

inline estimate mean_with_interval(std::span<const double> x, double confidence = 0.95) {
  estimate e{.mean = mean(x)};
  if (x.size() >= 2) {
    e.half = t_quantile(double(x.size() - 1), confidence) * standard_deviation(x) /
             std::sqrt(double(x.size()));
  }
  return e;
}

// The probability, if the mean of what x is drawn from were 0, of one at least as far from 0 as that of x
// (two-sided t-test). NaN for fewer than two numbers; 0 if all are equal, and not 0.
inline double t_test(std::span<const double> x) {
  if (x.size() < 2) {
    return not_a_number;
  }
  const double error = standard_deviation(x) / std::sqrt(double(x.size()));
  const double distance = std::abs(mean(x));
  if (error == 0) {
    return distance > 0 ? 0 : 1;
  }
  return t_two_sided_tail(distance / error, double(x.size() - 1));
}

// Holm's correction: of m tests the one with the k-th smallest p (k from 0) is counted (m − k) times, and none
// less than one before it. Where the result is at most α, "the mean is 0" is refused, with the probability of
// at least one mistake in all tests at most α, whatever depends on what.
inline std::vector<double> holm(std::span<const double> p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t(0));
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return p[a] < p[b]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;
  for (std::size_t k = 0; k < order.size(); ++k) {
    largest = std::max(largest, std::min(1.0, p[order[k]] * double(p.size() - k)));
    adjusted[order[k]] = largest;
  }
  return adjusted;
}

}  // namespace studies::common
