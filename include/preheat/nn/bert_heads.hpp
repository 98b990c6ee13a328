// How the last hidden states are pooled into one column per sequence for the trained linear head.
//
//   mean_pool_head   the mean over the sequence's tokens, scaled to length one if `normalize`: a
//                    MiniLM sentence embedding
//   cls_head         tanh(pooler.dense(first token)), the pooled output of BERT
//
// A head has uses_pooler, and for each network a state<Be> with forward and backward. Backward
// overwrites the gradient that it is given, and writes dX only if it is needed.
#pragma once
#include <cmath>
#include <vector>

#include "pooling.hpp"

namespace preheat::nn {

struct mean_pool_head {
  static constexpr bool uses_pooler = false;
  bool normalize = false;

  template <backend Be>
  class state {
   public:
    template <class Linear>
    const_view_of<Be> forward(Be& be, const mean_pool_head& head, const_view_of<Be> X,
                              const std::vector<index_t>& lengths, index_t, Linear&) {
      mean_of_tokens(be, X, lengths, pooled_);
      if (head.normalize) {
        unit_.forward(be, pooled_);
      }
      return pooled_;
    }
    template <class Linear>
    void backward(Be& be, const mean_pool_head& head, view_of<Be> d,
                  const std::vector<index_t>& lengths, index_t, Linear&, bool need_dx,
                  view_of<Be> dX) {
      if (!need_dx) {
        return;
      }
      if (head.normalize) {
        unit_.backward(be, pooled_, d);
      }
      mean_of_tokens_gradient(be, d, lengths, dX);
    }

   private:
    mat<Be> pooled_;
    unit_columns<Be> unit_;
  };
};

template <class T>
struct tanh_kernel {
  constexpr void operator()(T& x) const { x = std::tanh(x); }
};
// d = d·(1 − y²), where y = tanh(x)
template <class T>
struct tanh_gradient_kernel {
  constexpr void operator()(T& d, const T& y) const { d *= 1 - y * y; }
};

struct cls_head {
  static constexpr bool uses_pooler = true;

  template <backend Be>
  class state {
   public:
    using T = scalar_of<Be>;

    // `pooler` is the number of the network's layer pooler.dense.
    template <class Linear>
    const_view_of<Be> forward(Be& be, const cls_head&, const_view_of<Be> X,
                              const std::vector<index_t>& lengths, index_t pooler, Linear& linear) {
      first_tokens(be, X, lengths, first_);
      pooled_ = linear.forward(pooler, first_);
      be.apply(tanh_kernel<T>{}, pooled_);
      return pooled_;
    }
    template <class Linear>
    void backward(Be& be, const cls_head&, view_of<Be> d, const std::vector<index_t>& lengths,
                  index_t pooler, Linear& linear, bool need_dx, view_of<Be> dX) {
      be.apply(tanh_gradient_kernel<T>{}, d, const_view_of<Be>(pooled_));
      const view_of<Be> d_first = linear.backward(pooler, first_, d, need_dx);
      if (need_dx) {
        first_tokens_gradient(be, d_first, lengths, dX);
      }
    }

   private:
    mat<Be> first_;
    view_of<Be> pooled_;  // in a buffer of the operator
  };
};

}  // namespace preheat::nn
