// The matrix of a CUDA backend: a move-only owner of column-major memory on the device. It is empty
// or made by its backend, and holds a reference to its context. Or it is a part of another matrix, which it
// keeps alive: then both have the same entries.
#pragma once
#include <algorithm>
#include <memory>
#include <utility>

#include "context.hpp"

namespace preheat {

template <class T>
class cuda_matrix {
 public:
  cuda_matrix() = default;
  // m×n, contents undefined.
  cuda_matrix(std::shared_ptr<const cuda_context> context, index_t rows, index_t cols) {
    resize(std::move(context), rows, cols);
  }
  // The rows × cols entries of `whole` from entry (i, j) on.
  cuda_matrix(std::shared_ptr<cuda_matrix> whole, index_t i, index_t j, index_t rows, index_t cols)
      : context_(whole->context_),
        part_(view<T>(*whole).block(i, j, rows, cols).data()),
        rows_(rows),
        cols_(cols),
        ld_(whole->ld_) {
    whole_ = std::move(whole);
  }
  cuda_matrix(cuda_matrix&& other) noexcept { swap(other); }
  cuda_matrix& operator=(cuda_matrix&& other) noexcept {
    cuda_matrix(std::move(other)).swap(*this);
    return *this;
  }

  // Passes that are held may use its memory.
  ~cuda_matrix() {
    if (context_) {
      context_->give_held_noexcept(memory_.data() != nullptr);
    }
  }

  T* data() { return whole_ ? part_ : static_cast<T*>(memory_.data()); }
  const T* data() const { return whole_ ? part_ : static_cast<const T*>(memory_.data()); }
  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  index_t ld() const { return ld_; }

  // Sets a new shape; the contents are undefined. The memory is reused if it is large enough; a part stays one
  // only in its own shape.
  void resize(std::shared_ptr<const cuda_context> context, index_t rows, index_t cols) {
    require(rows >= 0 && cols >= 0, "matrix dimensions are not negative", rows, cols);
    if (whole_) {
      if (rows != rows_ || cols != cols_) {
        *this = cuda_matrix(std::move(context), rows, cols);
      }
      return;
    }
    const index_t ld = leading_dimension(rows);
    const index_t needed = ld * cols;
    if (needed > capacity_) {
      memory_ = detail::cuda_memory(std::size_t(needed) * sizeof(T), context->stream());
      context_ = std::move(context);
      capacity_ = needed;
    }
    rows_ = rows;
    cols_ = cols;
    ld_ = ld;
  }

 private:
  // Columns of a tall matrix are aligned to 128 bytes, for coalesced loads and the tensor cores; a
  // matrix of few rows has no gaps, so that an elementwise pass over it is one loop.
  static index_t leading_dimension(index_t rows) {
    constexpr index_t line = 128 / index_t(sizeof(T));
    return rows < 4 * line ? std::max<index_t>(rows, 1) : (rows + line - 1) / line * line;
  }
  void swap(cuda_matrix& other) noexcept {
    std::swap(context_, other.context_);
    std::swap(memory_, other.memory_);
    std::swap(whole_, other.whole_);
    std::swap(part_, other.part_);
    std::swap(rows_, other.rows_);
    std::swap(cols_, other.cols_);
    std::swap(ld_, other.ld_);
    std::swap(capacity_, other.capacity_);
  }

  std::shared_ptr<const cuda_context> context_;  // before the memory, so that it outlives it
  detail::cuda_memory memory_;
  std::shared_ptr<cuda_matrix> whole_;  // of which this is a part
  T* part_ = nullptr;                   // where it begins
  index_t rows_ = 0;
  index_t cols_ = 0;
  index_t ld_ = 1;
  index_t capacity_ = 0;
};

namespace detail {
// Copies a matrix, within the device or between it and the host, in the order of the stream.
template <class T>
void cuda_transfer(const cuda_context& context, view<const T> from, view<T> to,
                   cudaMemcpyKind kind) {
  if (from.empty()) {
    return;
  }
  if (kind != cudaMemcpyDeviceToDevice) {
    // What was held comes first, and no graph has a copy from or to the host.
    context.give_held();
    context.leave_graph();
  } else if (!context.wants("a copy", sizeof(T), from.data(), from.ld(), to.data(), to.ld(),
                            from.rows(), from.cols())) {
    return;
  }
  if (from.ld() == from.rows() && to.ld() == to.rows()) {
    check(cudaMemcpyAsync(to.data(), from.data(), std::size_t(from.size()) * sizeof(T), kind,
                          context.wanted_stream()),
          "cudaMemcpyAsync");
  } else {
    check(
        cudaMemcpy2DAsync(to.data(), std::size_t(to.ld()) * sizeof(T), from.data(),
                          std::size_t(from.ld()) * sizeof(T), std::size_t(from.rows()) * sizeof(T),
                          std::size_t(from.cols()), kind, context.wanted_stream()),
        "cudaMemcpy2DAsync");
  }
}
}  // namespace detail

}  // namespace preheat
