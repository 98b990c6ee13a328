// Sums and maxima of many terms on the device, with one number as the result on the host. A tree
// whose nodes combine 128 terms makes every bit of the result depend on the number of terms alone,
// and not on the order in which threads run.
#pragma once
#include <memory>

#include "context.hpp"
#include "kernels.hpp"
#include "launch.hpp"
#include "matrix.hpp"

namespace preheat::detail {

// Keeps the memory of the partial results from call to call.
template <class T>
class cuda_reducer {
 public:
  // The reduction of n terms; 0 if there are none. Waits for the device.
  template <class Reduction>
  T operator()(const std::shared_ptr<const cuda_context>& context, const Reduction& reduction,
               index_t n) {
    if (n == 0) {
      return T(0);
    }
    const index_t results = (n + joined - 1) / joined;
    partial_[0].resize(context, results, 1);
    partial_[1].resize(context, results, 1);
    return reduce_into(*context, 0, reduction, n);
  }

 private:
  static constexpr index_t joined = 128;

  template <class Reduction>
  T reduce_into(const cuda_context& context, int which, const Reduction& reduction, index_t n) {
    const index_t results = (n + joined - 1) / joined;
    T* const x = partial_[which].data();
    launch(context, results, cuda_kernels::reduce<Reduction>{reduction, n, results, x});
    if (results == 1) {
      T result = 0;
      cuda_transfer(context, view<const T>(x, 1, 1), view<T>(&result, 1, 1),
                    cudaMemcpyDeviceToHost);
      context.synchronize();
      return result;
    }
    using next = typename Reduction::next;
    return reduce_into(context, 1 - which, next{{x, results, results}}, results);
  }

  cuda_matrix<T> partial_[2];
};

}  // namespace preheat::detail
