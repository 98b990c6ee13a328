// The part of the CUDA backend that encoders, decoders and classifiers need: operations whose result at an entry depends
// on the whole column, columns gathered by number, and products of many blocks at once.
// nn/encoder_backend.hpp and nn/loss.hpp have the equations; none of it is part of concept `backend`.
//
// T is the type of numbers (vectors, statistics, losses), X that of the columns' entries, T or a smaller one (mixed.hpp).
//
// Softmax, norms and the loss are a group of threads for a column and one pass through device memory. Only
// softmax_cross_entropy waits, for its result.
#pragma once
#include <algorithm>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "../core/block_grid.hpp"
#include "../core/shapes.hpp"
#include "block_starts.hpp"
#include "clip.hpp"
#include "column_kernels.hpp"
#include "decoder_kernels.hpp"
#include "factorizations.hpp"
#include "launch_groups.hpp"
#include "libraries.hpp"
#include "matrix.hpp"
#include "mixed_gemm.hpp"
#include "reduction.hpp"
#include "send.hpp"

namespace preheat {

template <class T, class X = T>
class cuda_columns {
 public:
  const std::shared_ptr<const cuda_context>& context() const { return context_; }

  // Mean over the columns of −log softmax(z)[label]; d becomes its gradient. Labels are a 1×N row
  // of whole numbers.
  T softmax_cross_entropy(view<const X> z, view<const T> labels, view<X> d) {
    require(labels.rows() == 1, "labels are one row", labels.rows(), 1);
    require(labels.cols() == z.cols(), "one label per column", labels.cols(), z.cols());
    require_same_shape("softmax_cross_entropy", z, d);
    if (z.empty()) {
      return T(0);
    }
    losses_.resize(context_, z.cols(), 1);
    launch_groups(
        *context_, group_for(z.rows()), z.cols(),
        cuda_kernels::softmax_cross_entropy<T, X>{
            cuda_kernels::window_of(z), cuda_kernels::window_of(labels), cuda_kernels::window_of(d),
            T(1) / T(z.cols()), losses_.data(), detail::columns_are_packed(z, d)});
    const T loss = reduced_(
        context_, cuda_kernels::sum<T>{cuda_kernels::window_of(view<const T>(losses_))}, z.cols());
    if (loss != loss) {  // a wrong label, or outputs that are NaN
      require_labels(labels, z.rows());
    }
    return loss;
  }

  // The same without a result on the host (nn/decoder_backend.hpp).
  void add_softmax_cross_entropy(T weight, view<X> z, view<const T> labels, view<T> total) {
    require(labels.rows() == 1, "labels are one row", labels.rows(), 1);
    require(labels.cols() == z.cols(), "one label per column", labels.cols(), z.cols());
    require(total.rows() == 1 && total.cols() == 1, "the total is one number", total.rows(),
            total.cols());
    if (z.empty()) {
      return;
    }
    losses_.resize(context_, z.cols(), 1);
    launch_groups(
        *context_, group_for(z.rows()), z.cols(),
        cuda_kernels::softmax_cross_entropy<T, X>{
            cuda_kernels::window_of(view<const X>(z)), cuda_kernels::window_of(labels),
            cuda_kernels::window_of(z), weight, losses_.data(), detail::columns_are_packed(z)});
    launch_groups(*context_, group_kind::block, 1,
                  cuda_kernels::add_row_sums<T>{1, {losses_.data(), 1, 1}, z.cols(), total.data()});
  }

  void softmax_cols(view<X> x) {
    if (!x.empty()) {
      launch_groups(*context_, group_for(x.rows()), x.cols(),
                    cuda_kernels::softmax_column<T, X>{cuda_kernels::window_of(x)});
    }
  }
  void softmax_cols_gradient(view<const X> p, view<X> d) {
    require_same_shape("softmax_cols_gradient", p, d);
    launch_groups(*context_, group_for(d.rows()), d.cols(),
                  cuda_kernels::softmax_column_gradient<T, X>{cuda_kernels::window_of(p),
                                                              cuda_kernels::window_of(d),
                                                              detail::columns_are_packed(p, d)});
  }
  void layer_norm(T epsilon, view<const T> gamma, view<const T> beta, view<X> x, view<T> r,
                  view<X> y) {
    require_layer_norm_shapes<T>("layer_norm", gamma, x, y, r);
    require_layer_norm_shapes<T>("layer_norm", beta, x, y, r);
    launch_groups(*context_, group_for(x.rows()), x.cols(),
                  cuda_kernels::layer_norm_column<T, X>{epsilon, gamma.data(), beta.data(),
                                                        cuda_kernels::window_of(x), r.data(),
                                                        cuda_kernels::window_of(y)});
  }
  void layer_norm_gradient(view<const T> gamma, view<const X> x, view<const T> r, view<X> d) {
    require_layer_norm_shapes<T>("layer_norm_gradient", gamma, x, d, r);
    launch_groups(
        *context_, group_for(d.rows()), d.cols(),
        cuda_kernels::layer_norm_column_gradient<T, X>{gamma.data(), cuda_kernels::window_of(x),
                                                       r.data(), cuda_kernels::window_of(d)});
  }

  // For decoders (nn/decoder_backend.hpp).
  void softmax_cols_causal(index_t shift, index_t window, view<X> x) {
    softmax_cols_causal(shift, window, std::max<index_t>(x.cols(), 1), x);
  }
  void softmax_cols_causal(index_t shift, index_t window, index_t period, view<X> x) {
    require(period >= 1 && x.cols() % period == 0, "softmax_cols_causal: columns % period = 0",
            x.cols(), period);
    require_causal_shape("softmax_cols_causal", shift, window,
                         x.col_range(0, std::min(period, x.cols())));
    if (!x.empty()) {
      launch_groups(
          *context_, group_for(x.rows()), x.cols(),
          cuda_kernels::causal_softmax_column<T, X>{
              shift, window, period, cuda_kernels::window_of(x), detail::columns_are_packed(x)});
    }
  }
  void turn_heads(T sign, view<const T> c, view<const T> s, view<X> x) {
    require_same_shape("turn_heads", c, s);
    require(c.cols() == x.cols(), "turn_heads: angles of every column", c.cols(), x.cols());
    require(c.rows() >= 1 && x.rows() % (2 * c.rows()) == 0,
            "turn_heads: rows % rows of a head = 0", x.rows(), 2 * c.rows());
    launch_groups(
        *context_, group_for(x.rows()), x.cols(),
        cuda_kernels::turn_heads_of_column<T, X>{
            sign, cuda_kernels::window_of(c), cuda_kernels::window_of(s),
            cuda_kernels::window_of(x),
            detail::columns_are_packed(c, s, x) && c.rows() % cuda_kernels::chunk_size<X> == 0});
  }
  void rms_norm(T epsilon, view<const T> gamma, view<const X> x, view<T> r, view<X> y) {
    require_layer_norm_shapes<T>("rms_norm", gamma, x, y, r);
    launch_groups(
        *context_, group_for(x.rows()), x.cols(),
        cuda_kernels::rms_norm_column<T, X>{epsilon, gamma.data(), cuda_kernels::window_of(x),
                                            r.data(), cuda_kernels::window_of(y),
                                            detail::columns_are_packed(x, y, gamma_start(gamma))});
  }
  // x += a, and the norm of that.
  void add_rms_norm(T epsilon, view<const T> gamma, view<const X> a, view<X> x, view<T> r,
                    view<X> y) {
    require_layer_norm_shapes<T>("add_rms_norm", gamma, x, y, r);
    require_same_shape("add_rms_norm", a, x);
    launch_groups(
        *context_, group_for(x.rows()), x.cols(),
        cuda_kernels::add_rms_norm_column<T, X>{
            epsilon, gamma.data(), cuda_kernels::window_of(a), cuda_kernels::window_of(x), r.data(),
            cuda_kernels::window_of(y), detail::columns_are_packed(a, x, y, gamma_start(gamma))});
  }
  void rms_norm_gradient(view<const T> gamma, view<const X> x, view<const T> r, view<const X> d,
                         view<X> dx) {
    rms_norm_gradient(gamma, x, r, d, dx, view<X>());
  }
  // y is written again, unless it is empty.
  void rms_norm_gradient(view<const T> gamma, view<const X> x, view<const T> r, view<const X> d,
                         view<X> dx, view<X> y) {
    require_layer_norm_shapes<T>("rms_norm_gradient", gamma, x, d, r);
    require_same_shape("rms_norm_gradient", x, dx);
    if (!y.empty()) {
      require_same_shape("rms_norm_gradient", x, y);
    }
    launch_groups(
        *context_, group_for(x.rows()), x.cols(),
        cuda_kernels::rms_norm_column_gradient<T, X>{
            gamma.data(), cuda_kernels::window_of(x), r.data(), cuda_kernels::window_of(d),
            cuda_kernels::window_of(dx), cuda_kernels::window_of(y),
            detail::columns_are_packed(x, d, dx, y, gamma_start(gamma))});
  }

  void add_row_sums(T s, view<const T> a, view<T> x) {
    require(a.rows() == x.rows(), "add_row_sums: one sum per row", a.rows(), x.rows());
    launch_groups(*context_, group_for(a.cols()), a.rows(),
                  cuda_kernels::add_row_sums<T>{s, cuda_kernels::window_of(a), a.cols(), x.data()});
  }
  void add_row_dots(T s, view<const T> a, view<const T> b, view<T> x) {
    require(a.rows() == x.rows(), "add_row_dots: one sum per row", a.rows(), x.rows());
    require_same_shape("add_row_dots", a, b);
    launch_groups(*context_, group_for(a.cols()), a.rows(),
                  cuda_kernels::add_row_dots<T>{s, cuda_kernels::window_of(a),
                                                cuda_kernels::window_of(b), a.cols(), x.data()});
  }

  // x_j = table_{ids_j}
  void gather_cols(view<const X> table, std::span<const index_t> ids, view<X> x) {
    require(table.rows() == x.rows(), "gather_cols: rows agree", table.rows(), x.rows());
    require(index_t(ids.size()) == x.cols(), "gather_cols: one number per column", ids.size(),
            x.cols());
    for (const index_t id : ids) {
      require(0 <= id && id < table.cols(), "gather_cols: 0 <= number < columns of the table", id,
              table.cols());
    }
    if (x.empty()) {
      return;
    }
    ids_.resize(context_, x.cols(), 1);
    detail::cuda_send(*context_, ids, ids_.data());
    launch_groups(*context_, group_for(x.rows()), x.cols(),
                  cuda_kernels::gather_column<X>{cuda_kernels::window_of(table), ids_.data(),
                                                 cuda_kernels::window_of(x)});
  }

  // Every matrix is multiplied by min(1, bound/(norm of all of them + 1e-6)), found on the device.
  void clip(double bound, std::span<const view<T>> all) { clip_(context_, bound, all); }

  // c = alpha·op(a)·op(b) + beta·c for each triple of blocks, in one call of cuBLAS.
  void gemm_grid(T alpha, transpose ta, const block_grid<const X>& a, transpose tb,
                 const block_grid<const X>& b, T beta, const block_grid<X>& c) {
    require_product_shapes<X>(ta, a.first, tb, b.first, c.first);
    require(a.count() == c.count(), "gemm_grid: as many blocks in every operand", a.count(),
            c.count());
    require(b.count() == c.count(), "gemm_grid: as many blocks in every operand", b.count(),
            c.count());
    require(c.steps.shared == 1, "gemm_grid: every block is written once", c.steps.shared, 1);
    const index_t k = cols_of(ta, a.first);
    require(k > 0 && !c.first.empty(), "gemm_grid: no block is empty", k, c.first.size());
    const index_t count = c.count();
    const detail::cuda_block_starts<X>& starts = starts_(context_, a, b, c);
    detail::cuda_grid_gemm<T, X>(*context_, alpha, ta, a.first, tb, b.first, beta, c.first, starts,
                                 k, count);
  }

 protected:
  explicit cuda_columns(std::shared_ptr<const cuda_context> context)
      : context_(std::move(context)) {}

  std::shared_ptr<const cuda_context> context_;
  detail::cuda_reducer<T> reduced_;

 private:
  // Of a vector only the beginning matters.
  static view<const T> gamma_start(view<const T> gamma) { return {gamma.data(), 0, 0, 16}; }
  void require_labels(view<const T> labels, index_t classes) const {
    std::vector<T> host(std::size_t(labels.cols()));
    detail::cuda_transfer(*context_, labels, view<T>(host.data(), 1, labels.cols()),
                          cudaMemcpyDeviceToHost);
    context_->synchronize();
    for (const T label : host) {
      require(0 <= label && label < T(classes), "0 <= label < classes", label, classes);
      require(T(index_t(label)) == label, "a label is a whole number", label, index_t(label));
    }
  }

  cuda_matrix<T> losses_;
  detail::cuda_clipper<T> clip_;
  cuda_matrix<index_t> ids_;
  detail::cuda_known_starts<X> starts_;
};

}  // namespace preheat
