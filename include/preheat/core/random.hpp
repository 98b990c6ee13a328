// Counter-based randomness: the same numbers whatever the order of use or the number of threads.
//
// The engine is Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1,
// 2, 3", SC 2011): a keyed bijection of 128-bit counters. A `generator` is a value, a key and a
// position; `fork(purpose, index)` gives an independent stream, so that random numbers depend on
// (seed, purpose, layer) and not on what was drawn before them.
//
//   preheat::generator gen(42);
//   preheat::generator factors = gen.fork(preheat::purpose::factors, layer);
//   double x = factors.normal();
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <numbers>
#include <numeric>
#include <utility>
#include <vector>

#include "types.hpp"

namespace preheat {

// The purpose of a stream of random numbers. Streams of different purposes do not overlap.
enum class purpose : std::uint32_t {
  base = 1,
  batch,
  factors,
  gate,
  mask,
  subset,
  calibration,
  preheat,
  dropout,
  split,
  sketch,
  completion,
  step,
  user,
  shared
};

using philox_counter = std::array<std::uint32_t, 4>;
using philox_key = std::array<std::uint32_t, 2>;

// Philox4x32-10: ten rounds of two 32×32→64-bit products. Known answers are in
// tests/core/unit_random.cpp.
constexpr philox_counter philox4x32(philox_counter counter, philox_key key) {
  constexpr std::uint64_t multiplier0 = 0xD2511F53;
  constexpr std::uint64_t multiplier1 = 0xCD9E8D57;
  // Plain numbers, since without optimization each [] of an array is a call.
  std::uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  std::uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = multiplier0 * c0;
    const std::uint64_t product1 = multiplier1 * c2;
    c0 = std::uint32_t(product1 >> 32) ^ c1 ^ k0;
    c1 = std::uint32_t(product1);
    c2 = std::uint32_t(product0 >> 32) ^ c3 ^ k1;
    c3 = std::uint32_t(product0);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {c0, c1, c2, c3};
}

// A stream of random numbers, addressed by position. Trivially copyable; usable in device code.
class generator {
 public:
  constexpr explicit generator(std::uint64_t seed = 0) : key_(seed) {}

  constexpr std::uint64_t key() const { return key_; }

  // An independent stream for one use; `index` is a layer, a step or a round. Not inline: ten rounds in
  // each of a program's dozens of forks would cost the compiler more than a call costs a step.
  [[gnu::noinline]] constexpr generator fork(purpose p, std::uint64_t index = 0) const {
    return generator(block(index, std::uint32_t(p), 1)[0]);
  }

  // The pair of 64-bit words at a position: random access, any order.
  constexpr std::array<std::uint64_t, 2> words(std::uint64_t position) const {
    return block(position, 0, 0);
  }
  // Two independent uniforms in [0, 1), with 53 bits each.
  constexpr std::array<double, 2> uniforms(std::uint64_t position) const {
    const auto w = words(position);
    return {double(w[0] >> 11) * 0x1p-53, double(w[1] >> 11) * 0x1p-53};
  }
  // Two independent N(0, 1) values, by Box and Muller.
  std::array<double, 2> normals(std::uint64_t position) const {
    const auto u = uniforms(position);
    const double radius = std::sqrt(-2 * std::log1p(-u[0]));
    const double angle = 2 * std::numbers::pi * u[1];
    return {radius * std::cos(angle), radius * std::sin(angle)};
  }

  // Sequential use.
  constexpr std::uint64_t operator()() { return words(position_++)[0]; }
  constexpr double uniform() { return uniforms(position_++)[0]; }
  double normal() { return normals(position_++)[0]; }
  // A uniform integer in [0, bound), bound > 0, without modulo bias.
  constexpr index_t below(index_t bound) {
    const std::uint64_t range = std::uint64_t(bound);
    const std::uint64_t unfair = (0 - range) % range;  // 2^64 mod range values are redrawn
    std::uint64_t word = (*this)();
    while (word < unfair) {
      word = (*this)();
    }
    return index_t(word % range);
  }

 private:
  constexpr std::array<std::uint64_t, 2> block(std::uint64_t position, std::uint32_t tag,
                                               std::uint32_t kind) const {
    const philox_counter out =
        philox4x32({std::uint32_t(position), std::uint32_t(position >> 32), tag, kind},
                   {std::uint32_t(key_), std::uint32_t(key_ >> 32)});
    return {out[0] | std::uint64_t(out[1]) << 32, out[2] | std::uint64_t(out[3]) << 32};
  }

  std::uint64_t key_;
  std::uint64_t position_ = 0;
};

// What the linear algebra requires of a source of randomness: a value that can be forked and read
// at any position. Sequential state, speed and equality of streams across types are not required.
template <class G>
concept random_generator = std::copyable<G> && requires(const G g, purpose p, std::uint64_t i) {
  { g.fork(p, i) } -> std::same_as<G>;
  { g.uniforms(i) } -> std::same_as<std::array<double, 2>>;
  { g.normals(i) } -> std::same_as<std::array<double, 2>>;
};

static_assert(random_generator<generator>);

// Puts v into random order (Fisher and Yates). Unlike std::shuffle it is fully specified.
template <class Container>
constexpr void random_shuffle(Container& v, generator gen) {
  for (index_t i = index_t(v.size()) - 1; i > 0; --i) {
    std::swap(v[i], v[gen.below(i + 1)]);
  }
}

// k different numbers of 0..n−1 in increasing order, every set equally likely; 0 <= k <= n.
// Cost: O(n).
inline std::vector<index_t> random_subset(index_t k, index_t n, generator gen) {
  require(0 <= k && k <= n, "random_subset: 0 <= chosen <= all", k, n);
  std::vector<index_t> all(static_cast<std::size_t>(n));
  std::iota(all.begin(), all.end(), index_t(0));
  random_shuffle(all, gen);
  all.resize(std::size_t(k));
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace preheat
