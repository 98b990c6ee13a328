// Targets of known spectrum and random starts, all from the library's own generator.
#pragma once
#include <cmath>
#include <cstdint>
#include <preheat/preheat.hpp>
#include <string>
#include <vector>

#include "flow.hpp"
#include "studies/common/statistics.hpp"

namespace studies::theory {

using preheat::generator;
using preheat::index_t;
using be_type = preheat::cpu<double>;
using matrix = preheat::cpu_matrix<double>;

inline dense haar(index_t rows, index_t cols, const generator& gen) {
  be_type be;
  return preheat::linalg::orthonormal(be, rows, cols, gen).eigen();
}

struct target {
  std::string spectrum;
  dense M;  // m×n
  dense V;  // n×n, its right singular vectors, largest first
  Eigen::VectorXd sigma;

  // Σ_{i>r} σ_i²: what the best approximation of rank r leaves (Eckart and Young).
  double tail(index_t r) const { return sigma.tail(sigma.size() - r).squaredNorm(); }
  double square() const { return sigma.squaredNorm(); }
};

// m >= n. Spectra: "exponential" 0.7^i, "polynomial" 1/(i + 1), "flat" 1.
inline target make_target(const std::string& spectrum, index_t m, index_t n, std::uint64_t seed) {
  Eigen::VectorXd sigma(n);
  for (index_t i = 0; i < n; ++i) {
    sigma(i) = spectrum == "exponential"  ? std::pow(0.7, double(i))
               : spectrum == "polynomial" ? 1 / double(i + 1)
                                          : 1;
  }
  const dense U = haar(m, n, generator(seed));
  const dense V = haar(n, n, generator(seed).fork(preheat::purpose::user));
  return {spectrum, U * sigma.asDiagonal() * V.transpose(), V, sigma};
}

// r×n with orthonormal rows.
inline dense random_rows(index_t r, index_t n, std::uint64_t draw) {
  return haar(n, r, generator(1000 + draw)).transpose();
}

struct moments {
  double mean = 0;
  double variance = 0;
  double standard_error = 0;  // of the mean
};
inline moments moments_of(const std::vector<double>& values) {
  const double deviation = common::standard_deviation(values);
  return {.mean = common::mean(values),
          .variance = deviation * deviation,
          .standard_error = deviation / std::sqrt(double(values.size()))};
}

// The library's own run on this problem: rank r, s = 1, W = 0. Returns what is left of M.
template <class Method>
dense left_over(const Method& method, const target& t, index_t r, index_t steps,
                std::uint64_t seed) {
  be_type be;
  preheat::nn::least_squares<be_type> net(be, be.zeros(t.M.rows(), t.M.cols()), matrix(t.M));
  auto batches = net.batches();
  const auto report = preheat::fit(
      method, net, batches,
      {.rank = r, .steps = steps, .seed = seed, .scaling = preheat::scaling::constant(1)});
  dense W = net.layers()[0].W.eigen();
  if (report.layers[0].attached) {
    const auto f = report.adapter.product(be, report.layers[0].parameters);
    W += f.B.eigen() * f.A.eigen();
  }
  return t.M - W;
}

}  // namespace studies::theory
