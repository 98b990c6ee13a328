// A number that changes when a network's linear layers do, for the definition of a run.
#pragma once
#include <bit>
#include <cstdint>

namespace studies::common {

// 64-bit FNV-1a, number by number.
inline constexpr std::uint64_t start_of_checksum = 14695981039346656037u;
constexpr void mix(std::uint64_t& hash, std::uint64_t number) {
  hash = (hash ^ number) * 1099511628211u;
}

// Of the weights of all linear layers; the backend computes with float.
template <class Net>
std::uint64_t weights_checksum(Net& net) {
  std::uint64_t hash = start_of_checksum;
  for (const auto& l : net.layers()) {
    for (const float value : net.backend().download(l.W)) {
      mix(hash, std::bit_cast<std::uint32_t>(value));
    }
  }
  return hash;
}

}  // namespace studies::common
