// A tensor of an open GGUF file as a stored matrix (core/stored_matrix.hpp): its rows are unpacked when
// they are used, in the order of Hugging Face (row_order.hpp). The file stays open as long.
#pragma once
#include <memory>
#include <string>
#include <utility>

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

}  // namespace preheat::gguf
