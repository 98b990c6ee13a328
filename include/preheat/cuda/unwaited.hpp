// The part of the CUDA backend that gives a verdict or a sign to what follows on the device, and not to the host,
// which so need not wait for it (core/backend.hpp has the concept); numbers that the host reads while later work goes
// on; and passes that are repeated as graphs.
#pragma once
#include <limits>
#include <memory>
#include <utility>

#include "captured_steps.hpp"
#include "columns.hpp"
#include "sent_number.hpp"

namespace preheat {

namespace cuda_kernels {

// What potrf leaves: a factor with zeros below its diagonal, or NaN if the info says that there is none.
template <class T>
struct factor_or_nan {
  const int* info;
  index_t rows;
  constexpr void operator()(index_t k, T& x) const {
    if (k % rows > k / rows) {
      x = T(0);
    } else if (*info != 0) {
      x = std::numeric_limits<T>::quiet_NaN();
    }
  }
};

// signs_j = −1 if the entry of largest magnitude in column j, the first of equals, is negative, else 1.
template <class T>
struct sign_of_largest {
  window<const T> a;
  T* signs;
  template <class Group>
  constexpr void operator()(const Group& group, index_t j) const {
    T most = 0;
    index_t place = 0;
    for (index_t i = group.rank(); i < a.rows; i += group.size()) {
      const T magnitude = a(i, j) < 0 ? -a(i, j) : a(i, j);
      if (magnitude > most) {
        most = magnitude;
        place = i;
      }
    }
    // The first place of the largest has the largest distance to the end.
    const T largest = group.max(most);
    const index_t distance = group.max(most == largest ? a.rows - place : index_t(0));
    if (group.rank() == 0) {
      signs[j] = a(a.rows - distance, j) < 0 ? T(-1) : T(1);
    }
  }
};

}  // namespace cuda_kernels

template <class T>
class cuda_unwaited : public cuda_columns<T> {
 public:
  void cholesky_or_nan(view<T> g) {
    require(g.rows() == g.cols(), "cholesky: the matrix is square", g.rows(), g.cols());
    if (!g.empty()) {
      detail::cuda_start_cholesky(context_, g);
      const cuda_kernels::factor_or_nan<T> finish{context_->info(), g.rows()};
      detail::for_each_entry(*context_, finish, g);
    }
  }
  void signs_of_largest(view<const T> a, view<T> signs) {
    require(signs.rows() == a.cols() && signs.cols() == 1, "signs_of_largest: one sign per column",
            signs.rows(), a.cols());
    require(a.rows() > 0, "signs_of_largest: a column is not empty", a.rows(), 1);
    launch_groups(*context_, group_for(a.rows()), a.cols(),
                  cuda_kernels::sign_of_largest<T>{cuda_kernels::window_of(a), signs.data()});
  }

  // A number on its way to the host (nn/decoder_backend.hpp).
  using sent_number = detail::cuda_sent_number<T>;
  void send(view<const T> x, sent_number& number) { number.send(context_, x); }
  T receive(sent_number& number) { return number.receive(*context_); }

  // Waits until everything that was asked for is done.
  void wait() { context_->synchronize(); }

  // Runs f(), which may begin again, as graphs of an earlier run if the context captures steps (captured_steps.hpp).
  template <class F>
  void repeat(F f) {
    if (!context_->options().capture_steps) {
      return f();
    }
    if (steps_ == nullptr) {
      steps_ = std::make_unique<detail::cuda_captured_steps>(context_);
    }
    steps_->run(f);
  }
  cuda_step_report captured() const {
    return steps_ == nullptr ? cuda_step_report{} : steps_->report();
  }

 protected:
  using cuda_columns<T>::cuda_columns;
  using cuda_columns<T>::context_;

 private:
  std::unique_ptr<detail::cuda_captured_steps> steps_;
};

}  // namespace preheat
