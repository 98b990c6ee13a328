// Random matrices from a counter-based stream, the same numbers on every backend and with every thread count.
// Entries 2i and 2i+1 (column-major) come from position i of the stream. A device draws them where the matrix is:
// uniform ones with the bits of the host, normal ones by the same formula, whose logarithm, sine and cosine are
// not the same everywhere: doubles agree to 8·ε of the number, floats but for the last digit of a few in a
// hundred million. Cost: one Philox block for two entries, on a device for one.
#pragma once
#include <array>
#include <cmath>
#include <concepts>
#include <numbers>
#include <vector>

#include "../core/communicator.hpp"
#include "../core/random.hpp"
#include "elementwise.hpp"

namespace preheat::linalg {

namespace detail {
template <backend Be, class Pair>
mat<Be> fill_by_pairs(Be& be, index_t m, index_t n, Pair pair_at) {
  using T = scalar_of<Be>;
  std::vector<T> host(std::size_t(m * n));
  for (std::size_t i = 0; i < host.size(); i += 2) {
    const auto values = pair_at(i / 2);
    host[i] = T(values[0]);
    if (i + 1 < host.size()) {
      host[i + 1] = T(values[1]);
    }
  }
  mat<Be> M = be.zeros(m, n);
  be.upload(host, M);
  return M;
}
}  // namespace detail

// Entry k of a matrix of U(−bound, bound).
template <class T>
struct uniform_kernel {
  generator gen{};
  double bound = 1;
  constexpr void operator()(index_t k, T& x) const {
    x = T((2 * gen.uniforms(std::uint64_t(k) / 2)[std::size_t(k % 2)] - 1) * bound);
  }
};

// m×n, independent U(−bound, bound).
template <backend Be, random_generator G>
mat<Be> uniform(Be& be, index_t m, index_t n, double bound, const G& gen) {
  if constexpr (memory_of<Be>() == memory_kind::device && std::same_as<G, generator>) {
    mat<Be> M = be.zeros(m, n);
    be.apply_indexed(uniform_kernel<scalar_of<Be>>{gen, bound}, M);
    return M;
  }
  return detail::fill_by_pairs(be, m, n, [&](std::uint64_t i) {
    const auto u = gen.uniforms(i);
    return std::array<double, 2>{(2 * u[0] - 1) * bound, (2 * u[1] - 1) * bound};
  });
}

// Entry k of a matrix of N(0, sigma²): generator::normals for the host and for a device.
template <class T>
struct normal_kernel {
  generator gen{};
  double sigma = 1;
  constexpr void operator()(index_t k, T& x) const {
    const auto u = gen.uniforms(std::uint64_t(k) / 2);
    const double radius = std::sqrt(-2 * std::log1p(-u[0]));
    const double angle = 2 * std::numbers::pi * u[1];
    x = T(sigma * (radius * (k % 2 == 0 ? std::cos(angle) : std::sin(angle))));
  }
};

// m×n, independent N(0, sigma²).
template <backend Be, random_generator G>
mat<Be> normal(Be& be, index_t m, index_t n, double sigma, const G& gen) {
  if constexpr (memory_of<Be>() == memory_kind::device && std::same_as<G, generator>) {
    mat<Be> M = be.zeros(m, n);
    be.apply_indexed(normal_kernel<scalar_of<Be>>{gen, sigma}, M);
    return M;
  }
  return detail::fill_by_pairs(be, m, n, [&](std::uint64_t i) {
    const auto z = gen.normals(i);
    return std::array<double, 2>{sigma * z[0], sigma * z[1]};
  });
}

}  // namespace preheat::linalg
