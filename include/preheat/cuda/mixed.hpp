// A CUDA backend on which activations and their gradients, like frozen weights, are of a smaller type than
// factors, their gradients, moments, statistics and sums:
//
//   preheat::cuda_mixed<float, preheat::cuda_bf16> be;
//   auto net = nn::decoder<cuda_mixed<float, cuda_bf16>>(
//       be, huggingface::read_decoder(be, "Llama-3.2-1B", weight_storage::bf16));
//   fit(lora{}, net, batches, {.rank = 16});
//
// Policies see the scalar T only. A network that holds its activations in activations<Be> (nn/decoder.hpp, nn/bert.hpp)
// has them in X; another one has them in T, as on cuda<T, X>. Layers whose W is stored, in X or packed, and whose
// adapters are adapter::lora compute in X (operators/bordered_group.hpp), all others in T, from widened inputs.
//
// Products of X by X sum in T and round once, to X or to T. Elementwise passes and columns compute in T. The same
// order of operations gives the same bits.
#pragma once
#include "bf16.hpp"

namespace preheat {

template <class T, class X>
class cuda_mixed : public cuda<T, X>, public cuda_columns<T, X> {
  using scalars = cuda<T, X>;
  using columns = cuda_columns<T, X>;

 public:
  using matrix = typename scalars::matrix;
  using activation = X;
  using activation_matrix = cuda_matrix<X>;

  cuda_mixed() : cuda_mixed(std::make_shared<const cuda_context>()) {}
  explicit cuda_mixed(std::shared_ptr<const cuda_context> shared)
      : scalars(shared), columns(shared) {}

  using scalars::add_row_dots;
  using scalars::add_row_sums;
  using scalars::clip;
  using scalars::context;

  // --- the same for X as for T
  using columns::add_rms_norm;
  using columns::add_softmax_cross_entropy;
  using columns::gather_cols;
  using columns::gemm_grid;
  using columns::layer_norm;
  using columns::layer_norm_gradient;
  using columns::rms_norm;
  using columns::rms_norm_gradient;
  using columns::softmax_cols;
  using columns::softmax_cols_causal;
  using columns::softmax_cols_gradient;
  using columns::softmax_cross_entropy;
  using columns::turn_heads;
  using scalars::add_rms_norm;
  using scalars::add_softmax_cross_entropy;
  using scalars::gather_cols;
  using scalars::gemm_grid;
  using scalars::layer_norm;
  using scalars::layer_norm_gradient;
  using scalars::rms_norm;
  using scalars::rms_norm_gradient;
  using scalars::softmax_cols;
  using scalars::softmax_cols_causal;
  using scalars::softmax_cols_gradient;
  using scalars::softmax_cross_entropy;
  using scalars::turn_heads;

  using scalars::add_to_cols;
  using scalars::copy;
  using scalars::fill;
  using scalars::gemm;
  using scalars::resize;
  using scalars::unpack;

  void resize(activation_matrix& M, index_t m, index_t n) { M.resize(context(), m, n); }
  void fill(T value, view<X> x) { this->apply_indexed(cuda_kernels::fill<T>{value}, x); }
  // x = a, from one type to the other or within X.
  void copy(transpose t, view<const X> a, view<X> x) { convert(t, a, x); }
  void copy(transpose t, view<const T> a, view<X> x) { convert(t, a, x); }
  void copy(transpose t, view<const X> a, view<T> x) { convert(t, a, x); }
  // x = W, a stored weight, in the type in which products take it
  void unpack(const typename scalars::stored_weight& W, view<X> x) {
    require(W.rows() == x.rows() && W.cols() == x.cols(), "unpack: x has the shape of W", x.rows(),
            W.rows());
    if (W.entries().cols() > 0) {
      convert(transpose::no, W.entries(), x);
    } else {
      W.expand(*context(), x);
    }
  }
  // x_ij += b_i
  void add_to_cols(view<const T> b, view<X> x) {
    require(b.rows() == x.rows(), "add_to_cols: one term per row", b.rows(), x.rows());
    this->apply_indexed(cuda_kernels::add_to_cols<T>{b.data(), x.rows()}, x);
  }
  // c = alpha·op(a)·op(b) + beta·c with sums in T
  void gemm(T alpha, transpose ta, view<const X> a, transpose tb, view<const X> b, T beta,
            view<X> c) {
    product(alpha, ta, a, tb, b, beta, c);
  }
  void gemm(T alpha, transpose ta, view<const X> a, transpose tb, view<const X> b, T beta,
            view<T> c) {
    product(alpha, ta, a, tb, b, beta, c);
  }

 private:
  template <class From, class To>
  void convert(transpose t, view<const From> a, view<To> x) {
    require(t == transpose::no, "copy: activations are not transposed");
    this->apply(cuda_kernels::convert<T>{1}, x, a);
  }
  template <class C>
  void product(T alpha, transpose ta, view<const X> a, transpose tb, view<const X> b, T beta,
               view<C> c) {
    require_product_shapes<X>(ta, a, tb, b, c);
    if (cols_of(ta, a) == 0) {
      beta == T(0) ? this->apply_indexed(cuda_kernels::fill<T>{0}, c)
                   : this->apply_indexed(cuda_kernels::scale<T>{beta}, c);
    } else if (!c.empty()) {
      detail::cuda_mixed_gemm<X, C>(*context(), alpha, ta, a, tb, b, beta, c);
    }
  }
};

}  // namespace preheat
