// The order in which a matrix is transposed: square tiles, so that both the rows that are read and
// the columns that are written stay in the cache.
#pragma once
#include <algorithm>

#include "../core/types.hpp"

namespace preheat::safetensors::detail {

// Calls visit(i, j) once for each entry of a rows×cols matrix, tile by tile. Inside a tile i runs
// fastest.
template <class Visitor>
void for_each_in_tiles(index_t rows, index_t cols, Visitor&& visit) {
  constexpr index_t tile = 32;
  if (rows == 0 || cols == 0) {
    return;  // the other extent may be anything, even too large to walk along
  }
  for (index_t first_row = 0; first_row < rows; first_row += tile) {
    const index_t last_row = std::min(first_row + tile, rows);
    for (index_t first_col = 0; first_col < cols; first_col += tile) {
      const index_t last_col = std::min(first_col + tile, cols);
      for (index_t j = first_col; j < last_col; ++j) {
        for (index_t i = first_row; i < last_row; ++i) {
          visit(i, j);
        }
      }
    }
  }
}

}  // namespace preheat::safetensors::detail
