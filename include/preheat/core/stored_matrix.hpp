// A matrix that stays as its file has it: rows of a compact type (BF16, Q4_0, NF4 …), which are
// unpacked to floats where a product or an init needs them. It is never written to.
//
// Whoever knows a type gives its matrices as a source (`stored_rows`, below): gguf::tensor_rows,
// safetensors::tensor_rows, storage::nf4_rows. A stored_matrix shares one with its copies.
//
//   auto q = std::make_shared<const storage::nf4_rows>(…);
//   const stored_matrix S(q);                    // out×in, like the W that it stands for
//   std::vector<float> row(S.cols());
//   S.unpack(3, 0, S.cols(), row.data());        // row 3
#pragma once
#include <concepts>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "types.hpp"

namespace preheat {

// In what the frozen matrices of a model are kept when it is read:
//
//   dense      in the backend's scalar
//   as_stored  as the file has them (BF16, F16, Q8_0, Q4_0, Q4_K …), in its mapped pages, or on a device
//   bf16       rounded to bfloat16, 2 bytes an entry
//   nf4        rounded to NF4 with double quantization, 4.127 bits an entry (storage/nf4_rows.hpp)
enum class weight_storage { dense, as_stored, bf16, nf4 };

// Entries [begin, end) of a row are unpacked at once; begin is a multiple of this, and so is end
// unless it is the row's. It is a whole number of blocks of every type.
inline constexpr index_t stored_piece = 256;

// Rows of some type. `unpack` may be called from several threads at once.
template <class S>
concept stored_rows = requires(const S& s, index_t i, float* to) {
  { s.rows() } -> std::same_as<index_t>;
  { s.cols() } -> std::same_as<index_t>;
  { s.bytes() } -> std::same_as<std::size_t>;       // what the matrix takes, its scales included
  { s.type_name() } -> std::same_as<std::string>;   // "Q4_0"
  { s.unpack(i, i, i, to) } -> std::same_as<void>;  // (row, begin, end, to)
};

class stored_matrix {
 public:
  // What a product or a dense copy of it needs besides: a panel, rows as columns.
  template <class Be>
  using scratch = typename Be::matrix;

  stored_matrix() = default;
  template <stored_rows S>
  explicit stored_matrix(std::shared_ptr<const S> source)
      : rows_(source->rows()),
        cols_(source->cols()),
        bytes_(source->bytes()),
        type_(source->type_name()),
        unpack_([](const void* rows, index_t row, index_t begin, index_t end, float* to) {
          static_cast<const S*>(rows)->unpack(row, begin, end, to);
        }),
        source_(std::move(source)) {}

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  std::size_t bytes() const { return bytes_; }
  const std::string& type_name() const { return type_; }
  // Whether there is none.
  bool empty() const { return source_ == nullptr; }

  // Entries [begin, end) of a row, see stored_piece.
  void unpack(index_t row, index_t begin, index_t end, float* to) const {
    unpack_(source_.get(), row, begin, end, to);
  }

 private:
  index_t rows_ = 0;
  index_t cols_ = 0;
  std::size_t bytes_ = 0;
  std::string type_;
  void (*unpack_)(const void*, index_t, index_t, index_t, float*) = nullptr;
  std::shared_ptr<const void> source_;
};

// A backend that unpacks stored matrices: column j of x becomes row first + j. Besides, its gemm
// takes a weight_view (frozen_weight.hpp) as its first factor.
template <class Be>
concept stored_matrix_backend = requires(Be& be, const stored_matrix& s, index_t first,
                                         view<typename Be::scalar> x) {
  { be.unpack_rows(s, first, x) } -> std::same_as<void>;
};

}  // namespace preheat
