// A frozen weight of cuda<T, Storage> in the second number type, on the device; copies share it.
//
//   cuda<float, cuda_bf16> be;                             // cuda/bf16.hpp
//   layer.W = be.store(layer.W);                           // from now on 2 bytes an entry
//   be.gemm(1, transpose::no, weight_view<Be>(layer.W), transpose::no, X, 0, Y);
//
// The product reads W as it lies, rounds its other factor to Storage in a buffer that is kept, and sums
// and writes T:  Y = alpha·op(W)·op(round(X)) + beta·Y.
#pragma once
#include <memory>
#include <string>
#include <utility>

#include "matrix.hpp"
#include "mixed_gemm.hpp"

namespace preheat {

template <class S>
class cuda_stored_weight {
 public:
  template <class Be>
  using scratch = cuda_matrix<S>;

  cuda_stored_weight() = default;
  explicit cuda_stored_weight(cuda_matrix<S> W)
      : W_(std::make_shared<const cuda_matrix<S>>(std::move(W))) {}

  bool empty() const { return W_ == nullptr; }
  index_t rows() const { return empty() ? 0 : W_->rows(); }
  index_t cols() const { return empty() ? 0 : W_->cols(); }
  std::size_t bytes() const { return std::size_t(rows() * cols()) * sizeof(S); }
  std::string type_name() const { return cuda_storage_type<S>::name; }
  view<const S> values() const { return *W_; }

 private:
  std::shared_ptr<const cuda_matrix<S>> W_;
};

namespace detail {
// The member type of a backend of two number types; cuda<T> has none.
template <class T, class Storage>
struct cuda_storage {
  using stored_weight = cuda_stored_weight<Storage>;
};
template <class T>
struct cuda_storage<T, T> {};
}  // namespace detail

}  // namespace preheat
