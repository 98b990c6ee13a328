// The CPU's matrix: a move-only owner of column-major memory, aligned to 64 bytes, in and out of
// Eigen.
//
//   preheat::cpu_matrix<float> W = Eigen::MatrixXf::Random(4, 3);   // copies in
//   Eigen::MatrixXf back = W.eigen();                               // copies out; eigen() is a map
//
// Alignment is not only for speed: Eigen peels loops by address, so unaligned memory gave other
// last bits from run to run. The leading dimension of a tall matrix is a multiple of 64 bytes and
// never of 4096 (columns would fall on the same cache sets); a matrix of few rows, such as A (r×n),
// has no gaps, so that an elementwise pass over it is one loop.
#pragma once
#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "../core/types.hpp"

namespace preheat {

template <class T>
class cpu_matrix {
 public:
  using dense = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;

  cpu_matrix() = default;
  // m×n, contents undefined.
  cpu_matrix(index_t rows, index_t cols) { resize(rows, cols); }
  // A copy of any Eigen matrix or expression.
  template <class Derived>
  cpu_matrix(const Eigen::DenseBase<Derived>& source) : cpu_matrix(source.rows(), source.cols()) {
    eigen() = source.derived().template cast<T>();
  }
  cpu_matrix(cpu_matrix&& other) noexcept;
  cpu_matrix& operator=(cpu_matrix&& other) noexcept;
  ~cpu_matrix();

  T* data() { return data_; }
  const T* data() const { return data_; }
  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  index_t ld() const { return ld_; }

  // The same memory as an Eigen map.
  auto eigen() {
    return Eigen::Map<dense, Eigen::Aligned64, Eigen::OuterStride<>>(data(), rows_, cols_,
                                                                     Eigen::OuterStride<>(ld_));
  }
  auto eigen() const {
    return Eigen::Map<const dense, Eigen::Aligned64, Eigen::OuterStride<>>(
        data(), rows_, cols_, Eigen::OuterStride<>(ld_));
  }

  // A new shape, contents undefined. Memory is kept while it suffices.
  void resize(index_t rows, index_t cols);

 private:
  static constexpr std::size_t alignment = 64;
  static constexpr std::size_t huge_page = std::size_t(1) << 21;
  static constexpr index_t page = 4096;

  // Of memory for so many entries.
  static std::align_val_t boundary(index_t count) {
    const std::size_t bytes = std::size_t(count) * sizeof(T);
    return std::align_val_t(bytes >= 2 * huge_page ? huge_page : alignment);
  }
  // New memory for more entries than there is room for; the matrix is then 0×0.
  void reserve(index_t needed);

  static index_t leading_dimension(index_t rows) {
    constexpr index_t line = index_t(alignment / sizeof(T));
    if (rows < 4 * line) {
      return std::max<index_t>(rows, 1);
    }
    const index_t padded = (rows + line - 1) / line * line;
    return padded * index_t(sizeof(T)) % page == 0 ? padded + line : padded;
  }
  void swap(cpu_matrix& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(rows_, other.rows_);
    std::swap(cols_, other.cols_);
    std::swap(ld_, other.ld_);
    std::swap(capacity_, other.capacity_);
  }

  T* data_ = nullptr;
  index_t rows_ = 0;
  index_t cols_ = 0;
  index_t ld_ = 1;
  index_t capacity_ = 0;
};

// Not inline: a program has hundreds of places where a matrix is moved or ends, and each costs the compiler.
template <class T>
[[gnu::noinline]] cpu_matrix<T>::cpu_matrix(cpu_matrix&& other) noexcept {
  swap(other);
}
template <class T>
[[gnu::noinline]] cpu_matrix<T>::~cpu_matrix() {
  if (data_ != nullptr) {
    ::operator delete[](data_, boundary(capacity_));
  }
}
template <class T>
[[gnu::noinline]] cpu_matrix<T>& cpu_matrix<T>::operator=(cpu_matrix&& other) noexcept {
  cpu_matrix(std::move(other)).swap(*this);
  return *this;
}
template <class T>
[[gnu::noinline]] void cpu_matrix<T>::resize(index_t rows, index_t cols) {
  require(rows >= 0 && cols >= 0, "matrix dimensions are not negative", rows, cols);
  const index_t ld = leading_dimension(rows);
  if (ld * cols > capacity_) {
    reserve(ld * cols);
  }
  rows_ = rows;
  cols_ = cols;
  ld_ = ld;
}
// Large memory asks Linux for huge pages: passes over many matrices at once miss the TLB less.
template <class T>
void cpu_matrix<T>::reserve(index_t needed) {
  const std::size_t bytes = std::size_t(needed) * sizeof(T);
  void* const data = ::operator new[](bytes, boundary(needed));
#if defined(__linux__)
  if (boundary(needed) == std::align_val_t(huge_page)) {
    madvise(data, bytes / huge_page * huge_page, MADV_HUGEPAGE);  // advice may be ignored
  }
#endif
  cpu_matrix old;
  old.swap(*this);
  data_ = static_cast<T*>(data);
  capacity_ = needed;
}

// Eigen maps of views, for the code of the CPU backend.
template <class T>
using eigen_dense = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
template <class T>
auto eigen_map(view<T> v) {
  return Eigen::Map<eigen_dense<T>, 0, Eigen::OuterStride<>>(
      v.data(), v.rows(), v.cols(), Eigen::OuterStride<>(std::max<index_t>(v.ld(), 1)));
}
template <class T>
auto eigen_map(view<const T> v) {
  return Eigen::Map<const eigen_dense<T>, 0, Eigen::OuterStride<>>(
      v.data(), v.rows(), v.cols(), Eigen::OuterStride<>(std::max<index_t>(v.ld(), 1)));
}

}  // namespace preheat
