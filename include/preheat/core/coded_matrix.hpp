// A matrix as codes of 4 bits, to be handed to a device: entry k, counted row by row, is
//
//   x_k = scales[k / block]·levels[code_k],  code_k the upper half of byte k/2 where k is even
//
// NF4 is one (storage::nf4_rows). The spans are the caller's.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "types.hpp"

namespace preheat {

struct coded_matrix {
  index_t rows = 0;
  index_t cols = 0;
  index_t block = 0;
  std::span<const std::uint8_t> codes;
  std::span<const float> scales;
  std::array<float, 16> levels{};
  std::string type_name;
};

}  // namespace preheat
