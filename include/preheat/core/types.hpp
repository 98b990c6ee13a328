// The types and names that all axes and backends share; they depend on no library and no backend.
//
// Shapes, everywhere: W is out×in, A is r×in, B is out×r, ΔW = s·B·A, y = (W + ΔW)·x + b; a batch X
// is features × tokens, one column per token. Storage is column-major.
#pragma once
#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "error.hpp"

namespace preheat {

using index_t = std::ptrdiff_t;

// Whether an operand of a product is read as it is or transposed.
enum class transpose { no, yes };

// The side of ΔW = s·B·A that takes singular vectors: right is the input side (rows of A), left the
// output side (columns of B).
enum class singular_side { automatic, right, left };

// What a parameter is, for optimizers that treat kinds of parameters differently.
enum class parameter_role { A, B, gate, magnitude, weight, bias };
inline constexpr int role_count = 6;

// The tags by which a policy names its axis, so that `method<...>` takes policies in any order.
namespace axes {
struct adapter;
struct init;
struct optim;
struct rank;
struct chain;
}  // namespace axes

// For `static_assert(never<T>, "prose")`: false, but only when the template is instantiated.
template <class...>
inline constexpr bool never = false;

// A column-major window (pointer, rows, cols, leading dimension) on memory that it does not own, on
// the host or on a device. All matrix arguments of a backend are views, and only a backend
// dereferences them. Cost of every member: O(1).
//
//   Eigen::MatrixXf W(4, 3);
//   preheat::view<float> w(W.data(), W.rows(), W.cols(), W.rows());
template <class T>
class view {
 public:
  view() = default;
  view(T* data, index_t rows, index_t cols, index_t ld)
      : data_(data), rows_(rows), cols_(cols), ld_(ld) {
    require(rows >= 0 && cols >= 0, "view: dimensions are not negative", rows, cols);
    require(ld >= rows, "leading dimension >= rows", ld, rows);
  }
  view(T* data, index_t rows, index_t cols) : view(data, rows, cols, rows) {}

  // From anything that has data(), rows(), cols() and ld(): a backend's matrix, another view.
  template <class M>
  requires requires(M& m) {
    { m.data() } -> std::convertible_to<T*>;
    { m.ld() } -> std::convertible_to<index_t>;
  }
  view(M&& m) : data_(m.data()), rows_(m.rows()), cols_(m.cols()), ld_(m.ld()) {}

  T* data() const { return data_; }
  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  index_t ld() const { return ld_; }
  index_t size() const { return rows_ * cols_; }
  bool empty() const { return size() == 0; }

  // The block of `rows` × `cols` whose first entry is (i, j). Not inline, for the compiler's sake.
  [[gnu::noinline]] view block(index_t i, index_t j, index_t rows, index_t cols) const {
    require(0 <= i && i + rows <= rows_, "rows of a block lie in the matrix", i + rows, rows_);
    require(0 <= j && j + cols <= cols_, "columns of a block lie in the matrix", j + cols, cols_);
    return view(data_ + i + j * ld_, rows, cols, ld_);
  }
  view row_range(index_t i, index_t count) const { return block(i, 0, count, cols_); }
  view col_range(index_t j, index_t count) const { return block(0, j, rows_, count); }

 private:
  T* data_ = nullptr;
  index_t rows_ = 0;
  index_t cols_ = 0;
  index_t ld_ = 0;
};

template <class M>
view(M&&) -> view<std::remove_pointer_t<decltype(std::declval<M&>().data())>>;

// What a backend's factorizations return.
template <class M>
struct qr_result {
  M Q;  // m×k, orthonormal columns, k = min(m, n)
  M R;  // k×n, upper triangular
};
template <class M>
struct svd_result {
  M U;  // m×k, orthonormal columns
  M S;  // k×1, decreasing, >= 0
  M V;  // n×k, orthonormal columns (V itself, not its transpose)
};
template <class M>
struct eigh_result {
  M values;   // n×1, increasing
  M vectors;  // n×n, one eigenvector per column
};

}  // namespace preheat
