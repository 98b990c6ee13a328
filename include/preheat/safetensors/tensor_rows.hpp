// A tensor [rows, cols] of open safetensors files as a stored matrix (core/stored_matrix.hpp): F32, F16
// or BF16, converted to float when it is used. The files stay open as long.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "../core/stored_matrix.hpp"
#include "tensor_files.hpp"
#include "tensor_values.hpp"

namespace preheat::safetensors {

class tensor_rows {
 public:
  // Requires a F32, F16 or BF16 tensor of two dimensions of these files.
  tensor_rows(std::shared_ptr<const tensor_files> files, std::string name)
      : files_(std::move(files)), name_(std::move(name)), tensor_(&files_->info(name_)) {}

  index_t rows() const { return tensor_->shape[0]; }
  index_t cols() const { return tensor_->shape[1]; }
  std::size_t bytes() const { return tensor_->bytes.size(); }
  std::string type_name() const { return std::string(name_of(tensor_->type)); }
  void unpack(index_t row, index_t begin, index_t end, float* to) const {
    visit_dtype(tensor_->type, [&]<class Stored>(std::type_identity<Stored>) {
      if constexpr (floating_element<Stored>) {
        const std::byte* const from =
            tensor_->bytes.data() + std::size_t(row * cols() + begin) * sizeof(Stored);
        for (index_t j = 0; j < end - begin; ++j) {
          Stored stored;
          std::memcpy(&stored, from + std::size_t(j) * sizeof(Stored), sizeof(Stored));
          to[j] = convert<float>(stored);
        }
      }
    });
  }

 private:
  std::shared_ptr<const tensor_files> files_;
  std::string name_;
  const tensor_info* tensor_;
};

}  // namespace preheat::safetensors
