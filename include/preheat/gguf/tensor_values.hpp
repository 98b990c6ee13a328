// Numbers of a GGUF tensor as a matrix of float or double, whatever the tensor's type.
#pragma once
#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "../files/strict_json.hpp"
#include "row_order.hpp"
#include "tensor_info.hpp"
#include "unpack.hpp"

namespace preheat::gguf {

namespace detail {

inline void require_unpacked(std::string_view name, const tensor_info& tensor) {
  if (!is_unpacked(tensor.type)) {
    throw invalid_argument("tensor " + files::in_quotes(name) + ": its type " +
                           std::string(name_of(tensor.type)) +
                           " is not unpacked; F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, "
                           "Q5_K and Q6_K are");
  }
}

// What is unpacked at a time: whole blocks of every type.
inline constexpr index_t piece_entries = 256;

// Entries [begin, end) of a row, which begin a block and end one or the row.
inline void unpack_part(const tensor_info& tensor, index_t row, index_t begin, index_t end,
                        float* to) {
  const index_t size = block_entries(tensor.type);
  const index_t first = row * (tensor.cols() / size) + begin / size;
  unpack_blocks(tensor.type, tensor.bytes.data() + first * block_bytes(tensor.type),
                (end - begin) / size, to);
}

}  // namespace detail

// Rows `first`, first + 1, … of the tensor as the columns of `to`, which has as many rows as the
// tensor has columns: a row-major tensor is, as it lies, a column-major matrix. A tensor of any number
// of dimensions has rows. Errors: invalid_argument, naming the tensor, for other shapes or a type that
// is not unpacked. Cost: O(entries); 1 KiB of memory.
template <std::floating_point T>
void read_rows(std::string_view name, const tensor_info& tensor, index_t first, view<T> to) {
  detail::require_unpacked(name, tensor);
  const std::string who = "tensor " + files::in_quotes(name);
  require(to.rows() == tensor.cols(), who + ": entries of a row", to.rows(), tensor.cols());
  require(first >= 0 && first + to.cols() <= tensor.rows(), who + ": rows read <= rows there are",
          first + to.cols(), tensor.rows());
  for (index_t j = 0; j < to.cols(); ++j) {
    T* const column = to.data() + j * to.ld();
    if constexpr (std::is_same_v<T, float>) {
      detail::unpack_part(tensor, first + j, 0, to.rows(), column);
    } else {
      std::array<float, detail::piece_entries> piece;
      for (index_t i = 0; i < to.rows(); i += detail::piece_entries) {
        const index_t end = std::min(i + detail::piece_entries, to.rows());
        detail::unpack_part(tensor, first + j, i, end, piece.data());
        std::copy_n(piece.data(), end - i, column + i);
      }
    }
  }
}

// A tensor [rows, cols] as the rows×cols matrix `to`; row i comes from row order(i) of the file
// (row_order.hpp). A tensor of one dimension [n] is a column n×1. Errors: invalid_argument, naming the
// tensor, for other shapes or a type that is not unpacked. Cost: O(entries); 32 KiB of memory,
// whatever the tensor's size.
template <std::floating_point T, class Order = rows_in_order>
void read_matrix(std::string_view name, const tensor_info& tensor, view<T> to,
                 const Order& order = {}) {
  if (tensor.shape.size() == 1) {
    require(to.cols() == 1, "tensor " + files::in_quotes(name) + ": columns of a vector", to.cols(),
            1);
    read_rows(name, tensor, 0, to);
    return;
  }
  detail::require_unpacked(name, tensor);
  if (tensor.shape != std::vector<index_t>{to.rows(), to.cols()}) {
    throw invalid_argument("tensor " + files::in_quotes(name) + ": its shape is " +
                           shape_text(tensor.shape) + ", the matrix is " +
                           shape_text({to.rows(), to.cols()}));
  }
  constexpr index_t tile_rows = 32;
  std::array<float, tile_rows * detail::piece_entries> tile;  // column-major, tile_rows a column
  std::array<float, detail::piece_entries> piece;
  for (index_t i = 0; i < to.rows(); i += tile_rows) {
    const index_t rows = std::min(tile_rows, to.rows() - i);
    for (index_t j = 0; j < to.cols(); j += detail::piece_entries) {
      const index_t cols = std::min(detail::piece_entries, to.cols() - j);
      for (index_t k = 0; k < rows; ++k) {
        detail::unpack_part(tensor, order(i + k), j, j + cols, piece.data());
        for (index_t l = 0; l < cols; ++l) {
          tile[std::size_t(k + l * tile_rows)] = piece[std::size_t(l)];
        }
      }
      for (index_t l = 0; l < cols; ++l) {
        std::copy_n(tile.data() + l * tile_rows, rows, to.data() + i + (j + l) * to.ld());
      }
    }
  }
}

}  // namespace preheat::gguf
