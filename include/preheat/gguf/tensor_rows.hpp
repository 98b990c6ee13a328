// A tensor of an open GGUF file as a stored matrix (core/stored_matrix.hpp): its rows are unpacked when
// they are used, in the order of Hugging Face (row_order.hpp). The file stays open as long.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../core/stored_matrix.hpp"
#include "reader.hpp"
#include "row_order.hpp"

namespace preheat::gguf {

template <class Order = rows_in_order>
class tensor_rows {
 public:
  // Requires a tensor of two dimensions, of `file`, of a type that is unpacked.
  tensor_rows(std::shared_ptr<const reader> file, const tensor_info& tensor, Order order = {})
      : file_(std::move(file)), tensor_(&tensor), order_(order) {}

  index_t rows() const { return tensor_->rows(); }
  index_t cols() const { return tensor_->cols(); }
  std::size_t bytes() const { return tensor_->bytes.size(); }
  std::string type_name() const { return std::string(name_of(tensor_->type)); }
  void unpack(index_t row, index_t begin, index_t end, float* to) const {
    detail::unpack_part(*tensor_, order_(row), begin, end, to);
  }

 private:
  std::shared_ptr<const reader> file_;
  const tensor_info* tensor_;  // in the file's header
  Order order_;
};

namespace detail {

// The blocks of a tensor's rows, in an order. Requires the tensor to be of the type of `Block`.
template <class Block, class Order>
std::vector<Block> blocks_of(const tensor_info& tensor, Order order) {
  const auto* const first = reinterpret_cast<const Block*>(tensor.bytes.data());  // made of bytes
  const index_t in_a_row = tensor.cols() / Block::entries;
  std::vector<Block> blocks;
  blocks.reserve(std::size_t(tensor.rows() * in_a_row));
  for (index_t i = 0; i < tensor.rows(); ++i) {
    const Block* const row = first + order(i) * in_a_row;
    blocks.insert(blocks.end(), row, row + in_a_row);
  }
  return blocks;
}

}  // namespace detail

}  // namespace preheat::gguf
