// The step of one adapted linear layer whose thin products are joined to the large ones, for
// training loops outside this library. W and s·B are stored side by side, and X and A·X one below
// the other:
//
//   forward    A·X,                  Y = [W | s·B]·[X; A·X]
//   backward   [dX; D] = [W | s·B]ᵀ·dY,  dX += Aᵀ·D,  ∂A = D·Xᵀ,  ∂B = s·dY·(A·X)ᵀ
//
// W is m×n, A is r×n, B is m×r, X is n×N. There are two large products and four thin ones, where
// adapter::lora has five thin ones, and Y and dY are passed over once less each.
//
//   preheat::cuda_adapted_linear<float, __nv_bfloat16> layer(be, W, A, B, s, tokens);
//   be.copy(transpose::no, X, layer.input());   // bfloat16; or the layer before writes there
//   layer.forward();                            // result: layer.output()
//   layer.backward(dY);    // results: layer.input_gradient(), .gradient_A(), .gradient_B()
//   ... change layer.A() and layer.B() ...
//   layer.refresh();
//
// Storage is the type of W, of the activations and of the operands of products; sums, outputs,
// gradients, A and B are T. Storage = __nv_bfloat16 with T = float is the only mixture.
//
// The constructor allocates all memory. forward, backward and refresh neither allocate nor wait, so
// they can be captured in a CUDA graph.
#pragma once
#include <type_traits>

#include "backend.hpp"
#include "bf16.hpp"

namespace preheat {

template <class T, class Storage = T>
class cuda_adapted_linear {
  static_assert(std::is_same_v<Storage, T> ||
                    (std::is_same_v<Storage, __nv_bfloat16> && std::is_same_v<T, float>),
                "preheat: the storage is T, or __nv_bfloat16 where T is float");

 public:
  // Copies W, A and B. `tokens` is the N of every step.
  cuda_adapted_linear(cuda<T>& be, view<const T> W, view<const T> A, view<const T> B, T scaling,
                      index_t tokens)
      : be_(&be), n_(W.cols()), r_(A.rows()), scaling_(scaling) {
    const index_t m = W.rows();
    require(A.cols() == n_, "columns of A = columns of W", A.cols(), n_);
    require(B.rows() == m, "rows of B = rows of W", B.rows(), m);
    require(B.cols() == r_, "columns of B = rows of A", B.cols(), r_);
    require(r_ >= 1 && tokens >= 1, "rank and tokens >= 1", r_, tokens);
    const auto& context = be.context();
    weights_.resize(context, m, n_ + r_);
    inputs_.resize(context, n_ + r_, tokens);
    stored_A_.resize(context, r_, n_);
    if constexpr (!std::is_same_v<Storage, T>) {
      stored_dY_.resize(context, m, tokens);
      stored_D_.resize(context, r_, tokens);
    }
    A_ = clone<cuda<T>>(be, A);
    B_ = clone<cuda<T>>(be, B);
    output_ = be.zeros(m, tokens);
    input_gradients_ = be.zeros(n_ + r_, tokens);
    gradient_A_ = be.zeros(r_, n_);
    gradient_B_ = be.zeros(m, r_);
    store(T(1), W, view<Storage>(weights_).col_range(0, n_));
    refresh();
  }

  view<Storage> input() { return view<Storage>(inputs_).row_range(0, n_); }
  view<T> output() { return output_; }
  view<T> input_gradient() { return view<T>(input_gradients_).row_range(0, n_); }
  view<T> A() { return A_; }
  view<T> B() { return B_; }
  view<T> gradient_A() { return gradient_A_; }
  view<T> gradient_B() { return gradient_B_; }

  // Copies A and B for the products. To be called when A or B has changed.
  void refresh() {
    store(scaling_, view<const T>(B_), view<Storage>(weights_).col_range(n_, r_));
    store(T(1), view<const T>(A_), view<Storage>(stored_A_));
  }
  void forward() {
    product(1, transpose::no, stored_A_, transpose::no, input(), 0, projected());
    product(1, transpose::no, weights_, transpose::no, inputs_, 0, view<T>(output_));
  }
  // Gradients are overwritten.
  void backward(view<const T> dY) {
    require(dY.rows() == output_.rows() && dY.cols() == output_.cols(),
            "dY has the shape of the output", dY.rows(), output_.rows());
    const view<const Storage> dy = stored(dY, stored_dY_);
    product(1, transpose::yes, weights_, transpose::no, dy, 0, view<T>(input_gradients_));
    const view<const Storage> d = stored(view<T>(input_gradients_).row_range(n_, r_), stored_D_);
    product(1, transpose::no, d, transpose::yes, input(), 0, view<T>(gradient_A_));
    product(scaling_, transpose::no, dy, transpose::yes, projected(), 0, view<T>(gradient_B_));
    product(1, transpose::yes, stored_A_, transpose::no, d, 1, input_gradient());
  }

 private:
  view<Storage> projected() { return view<Storage>(inputs_).row_range(n_, r_); }  // A·X

  void store(T scale, view<const T> from, view<Storage> to) {
    be_->apply(cuda_kernels::convert<T>{scale}, to, from);
  }
  // x in the type of the products' operands: x itself, or a converted copy in `place`.
  view<const Storage> stored(view<const T> x, [[maybe_unused]] cuda_matrix<Storage>& place) {
    if constexpr (std::is_same_v<Storage, T>) {
      return x;
    } else {
      store(T(1), x, place);
      return place;
    }
  }
  // c = alpha·op(a)·op(b) + beta·c, with sums in T.
  template <class C>
  void product(T alpha, transpose ta, view<const Storage> a, transpose tb, view<const Storage> b,
               T beta, view<C> c) {
    if constexpr (std::is_same_v<Storage, T>) {
      be_->gemm(alpha, ta, a, tb, b, beta, c);
    } else {
      detail::cuda_mixed_gemm<Storage, C>(*be_->context(), alpha, ta, a, tb, b, beta, c);
    }
  }

  cuda<T>* be_;
  index_t n_;
  index_t r_;
  T scaling_;
  cuda_matrix<Storage> weights_;    // [W | s·B]
  cuda_matrix<Storage> inputs_;     // [X; A·X]
  cuda_matrix<Storage> stored_A_;   // A in the type of the products' operands, like dY and D below
  cuda_matrix<Storage> stored_dY_;  // empty where the storage is T
  cuda_matrix<Storage> stored_D_;
  cuda_matrix<T> A_;
  cuda_matrix<T> B_;
  cuda_matrix<T> output_;
  cuda_matrix<T> input_gradients_;  // [dX; D]
  cuda_matrix<T> gradient_A_;
  cuda_matrix<T> gradient_B_;
};

}  // namespace preheat
