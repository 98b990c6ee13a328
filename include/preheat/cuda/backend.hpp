// The CUDA backend: products by cuBLAS, factorizations by cuSOLVER, the rest by elementwise kernels.
//
//   preheat::cuda<float> be;                        // throws cuda_error where there is no device
//   auto W = be.zeros(4096, 4096);                  // memory on the device
//   preheat::cuda<float> other(be.context());       // the same stream and handles
//   preheat::cuda<float, preheat::cuda_bf16> two;   // frozen weights in bf16 (stored_weight.hpp)
//
// A matrix belongs to the backends of the context that made it, because two contexts do not wait for each other. Any
// compiler accepts this header; a file that runs a policy's kernels on a GPU is compiled by nvcc (launch.hpp).
// Products of floats are in full precision unless the context's options choose TF32. All work is asynchronous; an
// upload of more than 64 KiB, download, dot, max_abs, softmax_cross_entropy and the factorizations wait. Errors: a
// shape that does not fit throws invalid_argument, a failing call cuda_error.
#pragma once
#include <algorithm>
#include <concepts>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../core/communicator.hpp"
#include "../core/concepts.hpp"
#include "../core/frozen_weight.hpp"
#include "../core/shapes.hpp"
#include "collected.hpp"
#include "elementwise.hpp"
#include "factorizations.hpp"
#include "kernels.hpp"
#include "launch.hpp"
#include "launch_groups.hpp"
#include "libraries.hpp"
#include "matrix.hpp"
#include "reduction.hpp"
#include "send.hpp"
#include "stored_weight.hpp"
#include "unwaited.hpp"

namespace preheat {

template <class T, class Storage = T>
class cuda : public cuda_unwaited<T>, public detail::cuda_storage<T, Storage> {
  static_assert(
      std::same_as<T, Storage> || std::same_as<T, float>,
      "preheat: the storage of cuda<T, Storage> is T, or a smaller type where T is float");

 public:
  using scalar = T;
  using matrix = cuda_matrix<T>;
  using higher_precision = std::conditional_t<std::same_as<T, float>, cuda<double>, void>;
  static constexpr memory_kind memory = memory_kind::device;

  cuda() : cuda(std::make_shared<const cuda_context>()) {}
  explicit cuda(std::shared_ptr<const cuda_context> context)
      : cuda_unwaited<T>(std::move(context)) {}
  // The backend of twice the precision in the same context.
  higher_precision in_higher_precision() const requires std::same_as<T, float> {
    return higher_precision(context_);
  }

  std::string describe() const {
    int version = 0;
    detail::check(cudaRuntimeGetVersion(&version), "cudaRuntimeGetVersion");
    return std::string("cuda<") + (sizeof(T) == 4 ? "float" : "double") + ">, CUDA " +
           std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10) +
           (context_->options().tf32 ? ", TF32" : "");
  }

  matrix zeros(index_t m, index_t n) {
    matrix M(context_, m, n);
    fill(T(0), M);
    return M;
  }
  void resize(matrix& M, index_t m, index_t n) { M.resize(context_, m, n); }

  void upload(std::span<const T> host, view<T> x) {
    require(index_t(host.size()) == x.size(), "upload: as many numbers as entries", host.size(),
            x.size());
    if (x.ld() == x.rows()) {
      return detail::cuda_send(*context_, host, x.data());
    }
    transfer(view<const T>(host.data(), x.rows(), x.cols()), x, cudaMemcpyHostToDevice);
    context_->synchronize();  // from here on the caller may change the host's memory
  }
  std::vector<T> download(view<const T> a) {
    std::vector<T> host(std::size_t(a.size()));
    transfer(a, view<T>(host.data(), a.rows(), a.cols()), cudaMemcpyDeviceToHost);
    context_->synchronize();
    return host;
  }

  void fill(T value, view<T> x) { detail::pass_over(*context_, cuda_kernels::fill<T>{value}, x); }
  void copy(transpose t, view<const T> a, view<T> x) {
    require_copy_shapes<T>(t, a, x);
    if (t == transpose::yes) {
      detail::cuda_transpose(*context_, a, x);
    } else {
      transfer(a, x, cudaMemcpyDeviceToDevice);
    }
  }

  template <class F, class M, class... Ms>
  void apply(F f, M&& x, Ms&&... others) {
    apply_indexed(cuda_kernels::without_index<F>{f}, x, others...);
  }
  template <class F, class M, class... Ms>
  void apply_indexed(F f, M&& x, Ms&&... others) {
    (require_same_shape("each", view(x), view(others)), ...);
    detail::pass_over(*context_, f, view(x), view(others)...);
  }
  // Runs f(), of whose passes over matrices many go into one launch (collected.hpp).
  template <class F>
  void collect(F f) {
    struct scope {
      const cuda_context& context;
      explicit scope(const cuda_context& c) : context(c) { context.collect(true); }
      ~scope() {
        context.collect(false);
        context.give_held_noexcept();
      }
    } during(*context_);
    f();
    context_->give_held();
  }

  void scale_rows(view<const T> d, view<T> x) {
    require(d.rows() == x.rows(), "scale_rows: one factor per row", d.rows(), x.rows());
    each_entry(cuda_kernels::scale_rows<T>{d.data(), x.rows()}, x);
  }
  void scale_cols(view<const T> d, view<T> x) {
    require(d.rows() == x.cols(), "scale_cols: one factor per column", d.rows(), x.cols());
    each_entry(cuda_kernels::scale_cols<T>{d.data(), x.rows()}, x);
  }
  void add_to_cols(view<const T> b, view<T> x) {
    require(b.rows() == x.rows(), "add_to_cols: one term per row", b.rows(), x.rows());
    each_entry(cuda_kernels::add_to_cols<T>{b.data(), x.rows()}, x);
  }

  T dot(view<const T> a, view<const T> b) {
    require_same_shape("dot", a, b);
    return reduced_(
        context_,
        cuda_kernels::dot_product<T>{cuda_kernels::window_of(a), cuda_kernels::window_of(b)},
        a.size());
  }
  T max_abs(view<const T> a) {
    return reduced_(context_, cuda_kernels::largest_magnitude<T>{cuda_kernels::window_of(a)},
                    a.size());
  }

  void gemm(T alpha, transpose ta, view<const T> a, transpose tb, view<const T> b, T beta,
            view<T> c) {
    require_product_shapes<T>(ta, a, tb, b, c);
    const index_t m = c.rows();
    const index_t n = c.cols();
    const index_t k = cols_of(ta, a);
    if (k == 0) {  // not documented by cuBLAS
      beta == T(0) ? fill(T(0), c) : each_entry(cuda_kernels::scale<T>{beta}, c);
    } else if (!c.empty() &&
               context_->wants("cublas<t>gemm", sizeof(T), alpha, ta, a.data(), a.ld(), tb,
                               b.data(), b.ld(), beta, c.data(), c.ld(), m, n, k)) {
      detail::check(detail::cublas<T>::gemm(
                        context_->wanted_blas(), detail::operation(ta), detail::operation(tb),
                        detail::library_int(m), detail::library_int(n), detail::library_int(k),
                        &alpha, a.data(), detail::library_int(a.ld()), b.data(),
                        detail::library_int(b.ld()), &beta, c.data(), detail::library_int(c.ld())),
                    "cublas<t>gemm");
    }
  }
  // The same with a frozen W as the first factor; a stored one is multiplied as it lies, by b rounded to
  // its type.
  template <class Be>
  void gemm(T alpha, transpose ta, const weight_view<Be>& a, transpose tb, view<const T> b, T beta,
            view<T> c) {
    if (!a.is_stored()) {
      gemm(alpha, ta, a.dense(), tb, b, beta, c);
    } else if (a.room() != nullptr) {
      multiply_stored_(alpha, ta, a.stored(), tb, b, beta, c, a.room()->scratch);
    } else {
      product_scratch scratch;
      multiply_stored_(alpha, ta, a.stored(), tb, b, beta, c, scratch);
    }
  }
  // W rounded to the storage type, on the device; or codes of 4 bits or a file's blocks as they are.
  cuda_stored_weight<Storage> store(view<const T> W) {
    cuda_matrix<Storage> stored(context_, W.rows(), W.cols());
    apply(cuda_kernels::convert<T>{1}, stored, W);
    return cuda_stored_weight<Storage>(std::move(stored));
  }
  cuda_stored_weight<Storage> store(const coded_matrix& W) {
    return cuda_stored_weight<Storage>(std::make_shared<const detail::cuda_codes>(context_, W));
  }
  template <class Block>
  cuda_stored_weight<Storage> store(const block_matrix<Block>& W) {
    return cuda_stored_weight<Storage>(
        std::make_shared<const detail::cuda_blocks<Block>>(context_, W));
  }
  // x = W, a stored weight.
  void unpack(const cuda_stored_weight<Storage>& W, cuda_product_scratch<Storage, T>& scratch,
              view<T> x) {
    const view<const Storage> values = W.values(context_, scratch.expanded);
    if (W.is_transposed()) {
      resize(scratch.wide, values.rows(), values.cols());
      apply(cuda_kernels::convert<T>{1}, scratch.wide, values);
      copy(transpose::yes, scratch.wide, x);
    } else {
      apply(cuda_kernels::convert<T>{1}, x, values);
    }
  }

  void gram(transpose t, view<const T> a, view<T> c) {
    const index_t n = require_gram_shapes<T>(t, a, c);
    const index_t k = cols_of(t, a);
    if (k == 0) {
      fill(T(0), c);
    } else if (n > 0) {
      detail::cuda_gram(*context_, t, a, k, c);
      launch(*context_, c.size(),
             cuda_kernels::mirror_upper_triangle<T>{cuda_kernels::window_of(c)});
    }
  }
  // The same for float factors, with products and sums in double, which keeps the digits that
  // squaring in float would lose. Memory: a copy of the factor in double.
  void gram(transpose t, view<const T> a, view<double> c) requires std::same_as<T, float> {
    mat<higher_precision> widened_a(context_, a.rows(), a.cols());
    apply(cuda_kernels::convert<T>{1}, widened_a, a);
    in_higher_precision().gram(t, widened_a, c);
  }
  bool cholesky(view<T> g) {
    require(g.rows() == g.cols(), "cholesky: the matrix is square", g.rows(), g.cols());
    return g.empty() || detail::cuda_cholesky(context_, g);
  }
  void solve_upper(transpose t, view<const T> r, view<T> x) {
    require(r.rows() == r.cols(), "solve_upper: the triangle is square", r.rows(), r.cols());
    require(r.rows() == x.rows(), "solve_upper: rows agree", r.rows(), x.rows());
    if (!x.empty()) {
      const T one = 1;
      detail::check(
          detail::cublas<T>::trsm(
              context_->blas(), CUBLAS_SIDE_LEFT, CUBLAS_FILL_MODE_UPPER, detail::operation(t),
              CUBLAS_DIAG_NON_UNIT, detail::library_int(x.rows()), detail::library_int(x.cols()),
              &one, r.data(), detail::library_int(r.ld()), x.data(), detail::library_int(x.ld())),
          "cublas<t>trsm");
    }
  }
  qr_result<matrix> qr(view<const T> a) {
    require(!a.empty(), "qr: the matrix is not empty", a.rows(), a.cols());
    return detail::cuda_qr(context_, a);
  }
  svd_result<matrix> svd(view<const T> a) {
    require(!a.empty(), "svd: the matrix is not empty", a.rows(), a.cols());
    return detail::cuda_thin_svd(context_, a);
  }
  eigh_result<matrix> eigh(view<const T> a) {
    require(a.rows() == a.cols() && !a.empty(), "eigh: the matrix is square", a.rows(), a.cols());
    return detail::cuda_eigh(context_, a);
  }
  // The k largest eigenvalues, increasing, and their vectors.
  eigh_result<matrix> eigh_largest(view<const T> a, index_t k) {
    require(a.rows() == a.cols(), "eigh_largest: the matrix is square", a.rows(), a.cols());
    require(1 <= k && k <= a.rows(), "eigh_largest: 1 <= count <= rows", k, a.rows());
    return detail::cuda_eigh_largest(context_, a, k);
  }

 private:
  // Calls f(k, x_k, a_k, …) for all entries.
  template <class F, class V, class... Vs>
  void each_entry(F f, V x, Vs... others) {
    (require_same_shape("each", x, others), ...);
    detail::for_each_entry(*context_, f, x, others...);
  }
  using product_scratch = cuda_product_scratch<Storage, T>;
  void multiply_stored_(T alpha, transpose ta, const cuda_stored_weight<Storage>& W, transpose tb,
                        view<const T> b, T beta, view<T> c, product_scratch& scratch) {
    const view<const T> shape(nullptr, W.rows(), W.cols());
    require_product_shapes<T>(ta, shape, tb, b, c);
    if (shape.empty() || c.empty()) {
      gemm(alpha, ta, shape, tb, b, beta, c);
      return;
    }
    const view<const Storage> values = W.values(context_, scratch.expanded);
    const transpose turned = ta == transpose::no ? transpose::yes : transpose::no;
    scratch.operand.resize(context_, b.rows(), b.cols());
    apply(cuda_kernels::convert<T>{1}, scratch.operand, b);
    detail::cuda_mixed_gemm<Storage, T>(*context_, alpha, W.is_transposed() ? turned : ta, values,
                                        tb, scratch.operand, beta, c);
  }
  void transfer(view<const T> from, view<T> to, cudaMemcpyKind kind) {
    detail::cuda_transfer(*context_, from, to, kind);
  }

  using cuda_unwaited<T>::context_;
  using cuda_unwaited<T>::reduced_;
};

static_assert(mixed_precision_backend<cuda<float>> && backend<cuda<double>>);
static_assert(partial_eigen_backend<cuda<float>> && partial_eigen_backend<cuda<double>>);

}  // namespace preheat
