// The CPU backend: Eigen for loops, and for products and factorizations either the system's BLAS
// and LAPACK or Eigen alone. The choice is a type, so both can live in one program and in one test:
//
//   preheat::cpu<float> be;                          // the best the build found
//   preheat::cpu<float, preheat::eigen_kernels> e;   // Eigen alone
//   std::puts(be.describe().c_str());                // which one is in use
//
// A backend works on one thread unless its constructor gets a number of threads: to train one model on
// two cores,
//
//   preheat::cpu<float> be(2);
//
// whose products and elementwise operations are done in blocks of the result, shared out among the
// threads; reductions and factorizations remain on the caller's. A backend of several
// threads sets OpenBLAS and Eigen to one thread for the whole process, so that two pools never
// compete. For another BLAS set OMP_NUM_THREADS=1. To run independent layers or runs in parallel,
// give each a backend of one thread.
//
// Numbers do not depend on the threads: elementwise operations and sums over columns give the same
// bits with any number of them. Cutting a product into blocks does not change which terms an entry
// sums. OpenBLAS gave the same bits for the block sizes used here; no BLAS guarantees it.
//
// Nothing is kept between calls but the threads; a backend object may be copied and shared. Copies
// share one pool of threads; a copy that finds it busy works on the calling thread. Errors: a shape that does not
// fit throws invalid_argument with both numbers.
#pragma once
#include <algorithm>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "../core/concepts.hpp"
#include "../core/frozen_weight.hpp"
#include "../core/shapes.hpp"
#include "blocks.hpp"
#include "eigen_kernels.hpp"
#include "matrix.hpp"
#include "passes.hpp"
#include "thread_team.hpp"
#if defined(PREHEAT_SYSTEM_BLAS)
#include "blas_kernels.hpp"
#endif

namespace preheat {

#if defined(PREHEAT_SYSTEM_BLAS)
using default_cpu_kernels = blas_kernels;
#else
using default_cpu_kernels = eigen_kernels;
inline bool set_blas_threads(int) {
  return false;
}
#endif

template <class T, class Kernels = default_cpu_kernels>
class cpu {
 public:
  using scalar = T;
  using matrix = cpu_matrix<T>;
  using stored_weight = stored_matrix;  // a frozen weight may stay so (core/frozen_weight.hpp)

  // The backend of twice the precision, where there is one. Eigen's kernels have none: a program of
  // float would compile all of their templates for double too.
  using higher_precision =
      std::conditional_t<std::same_as<T, float> && !std::same_as<Kernels, eigen_kernels>,
                         cpu<double, Kernels>, void>;

  // One thread, the caller's.
  cpu() = default;
  // So many threads, the caller's among them.
  explicit cpu(int threads, const block_sizes& sizes = {});
  int threads() const { return team_ ? team_->size() : 1; }

  std::string describe() const;

  // f(worker, i) for i = 0 … count − 1, several at a time if there are threads, worker < threads(). f
  // may call this backend, which then works on one thread. For what is independent but too small to be
  // shared out itself, such as the heads of an attention.
  template <class F>
  void in_parallel(index_t count, const F& f) const {
    const block_cut cut = equal_blocks(count, count, 1, threads(), 1);
    in_blocks(cut, [&](index_t first, index_t n) {
      for (index_t i = first; i < first + n; ++i) {
        f(first / cut.step, i);
      }
    });
  }

  matrix zeros(index_t m, index_t n);
  void resize(matrix& M, index_t m, index_t n);
  void upload(std::span<const T> host, view<T> x);
  std::vector<T> download(view<const T> a);
  void fill(T value, view<T> x);
  void copy(transpose t, view<const T> a, view<T> x);

  template <class F, class M, class... Ms>
  void apply(F f, M&& x, Ms&&... others) {
    run_pass(pass_for<T, F, entry_of<M>, entry_of<Ms>...>(), std::addressof(f),
             {operand(view(x)), operand(view(others))...});
  }
  template <class F, class M, class... Ms>
  void apply_indexed(F f, M&& x, Ms&&... others) {
    run_pass(&scalar_pass<T, true, F, entry_of<M>, entry_of<Ms>...>, std::addressof(f),
             {operand(view(x)), operand(view(others))...});
  }

  void scale_rows(view<const T> d, view<T> x);
  void scale_cols(view<const T> d, view<T> x);
  void add_to_cols(view<const T> b, view<T> x);
  void add_row_sums(T s, view<const T> a, view<T> x);
  void add_row_dots(T s, view<const T> a, view<const T> b, view<T> x);
  T dot(view<const T> a, view<const T> b);
  T max_abs(view<const T> a);

  void gemm(T alpha, transpose ta, view<const T> a, transpose tb, view<const T> b, T beta,
            view<T> c);
  // The same with a frozen W as the first factor; a stored one is unpacked panel by panel.
  template <class Be>
  void gemm(T alpha, transpose ta, const weight_view<Be>& a, transpose tb, view<const T> b, T beta,
            view<T> c) {
    if (!a.is_stored()) {
      gemm(alpha, ta, a.dense(), tb, b, beta, c);
    } else if (a.room() != nullptr) {
      multiply_stored(*this, alpha, ta, a.stored(), tb, b, beta, c, a.room()->scratch);
    } else {
      matrix panel;
      multiply_stored(*this, alpha, ta, a.stored(), tb, b, beta, c, panel);
    }
  }
  void unpack(const stored_matrix& stored, matrix& panel, view<T> x) {
    unpack_panels(*this, stored, panel, x);
  }
  // Column j of x becomes row first + j of a stored matrix.
  void unpack_rows(const stored_matrix& stored, index_t first, view<T> x);
  void gram(transpose t, view<const T> a, view<T> c);
  // The same for float factors, with products and sums in double: what squaring costs in digits it
  // gives back. Cost: about twice that in float; panels of the factor are converted in cache.
  template <std::same_as<double> Higher>
  requires std::same_as<T, float>
  void gram(transpose t, view<const T> a, view<Higher> c);
  bool cholesky(view<T> g);
  void solve_upper(transpose t, view<const T> r, view<T> x);
  qr_result<matrix> qr(view<const T> a);
  svd_result<matrix> svd(view<const T> a);
  eigh_result<matrix> eigh(view<const T> a);
  // The k largest at least: a solver that finds all of them may return all.
  eigh_result<matrix> eigh_largest(view<const T> a, index_t k);

  // Mean over the columns of −log softmax(z)[label]; d becomes its gradient. Labels are a 1×N row
  // of whole numbers. For networks that classify; not part of the concept `backend`.
  T softmax_cross_entropy(view<const T> z, view<const T> labels, view<T> d);

  // Operations on columns, for encoders (nn/encoder_backend.hpp); not part of the concept `backend`.
  void softmax_cols(view<T> x);
  void softmax_cols_gradient(view<const T> p, view<T> d);
  void layer_norm(T epsilon, view<const T> gamma, view<const T> beta, view<T> x, view<T> r,
                  view<T> y);
  void layer_norm_gradient(view<const T> gamma, view<const T> x, view<const T> r, view<T> d);

  // For decoders (nn/decoder_backend.hpp); not part of the concept `backend`.
  void softmax_cols_causal(index_t shift, index_t window, view<T> x);
  void rms_norm(T epsilon, view<const T> gamma, view<const T> x, view<T> r, view<T> y);
  void rms_norm_gradient(view<const T> gamma, view<const T> x, view<const T> r, view<const T> d,
                         view<T> dx);

 private:
  template <class M>  // of a matrix or view: const T or T
  using entry_of = std::remove_pointer_t<decltype(view(std::declval<M&>()).data())>;
  static view<T> operand(view<T> x) { return x; }
  // A pass does not write to what is const (pass_for, scalar_pass).
  static view<T> operand(view<const T> a) {
    return view<T>(const_cast<T*>(a.data()), a.rows(), a.cols(), a.ld());
  }

  using operations = column_operations_in_use<T>;
  template <class U>
  static columns_of<U> columns(view<U> x) {
    return {x.data(), x.rows(), x.cols(), x.ld()};
  }

  void run_pass(pass_function<T>* pass, const void* kernel,
                std::initializer_list<view<T>> operands) const;
  // The block of op(a) whose first entry is (i, j).
  static view<const T> op_block(transpose t, view<const T> a, index_t i, index_t j, index_t rows,
                                index_t cols) {
    if (t == transpose::yes) {
      std::swap(i, j);
      std::swap(rows, cols);
    }
    return a.block(i, j, rows, cols);
  }
  block_cut blocks_of_entries(index_t length, index_t entries, index_t unit) const {
    return equal_blocks(length, entries, sizes_.entries, threads(), unit);
  }
  // f(first, count) for every block, shared out among the threads. One call of f, behind a pointer,
  // whatever the number of blocks: a program has hundreds of operations to compile.
  template <class F>
  void in_blocks(const block_cut& cut, const F& f) const {
    run_blocks(team_.get(), cut, std::addressof(f),
               [](const void* context, index_t first, index_t count) {
                 (*static_cast<const F*>(context))(first, count);
               });
  }
  template <class F>
  void in_columns(view<T> x, const F& f) {
    in_blocks(blocks_of_entries(x.cols(), x.size(), 1), f);
  }
  template <class F>
  void in_rows(view<const T> a, const F& f) {
    in_blocks(blocks_of_entries(a.rows(), a.size(), sizes_.unit), f);
  }

  std::shared_ptr<thread_team> team_;  // none of one thread
  block_sizes sizes_;
};

static_assert(backend<cpu<float, eigen_kernels>> && backend<cpu<double, eigen_kernels>>);
static_assert(backend<cpu<float>> && backend<cpu<double>>);

}  // namespace preheat

#include "backend_members.hpp"
#if defined(PREHEAT_KERNELS)
#include "compiled_backends.hpp"
#endif
