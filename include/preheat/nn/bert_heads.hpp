// What of an encoder's last hidden states goes into the trained linear head: one column a sequence.
//
//   mean_pool_head   the mean over the sequence's tokens; of length one if `normalize`, which is a
//                    MiniLM sentence embedding
//   cls_head         tanh(pooler.dense(first token)), the pooled output of BERT
//
// A head has uses_pooler, and for each network a state<Be> with forward and backward; backward
// overwrites the gradient it is given, and writes dX only where it is wanted.
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
    template <class Lin>
    in<Be> forward(Be& be, const mean_pool_head& head, in<Be> X,
                   const std::vector<index_t>& lengths, index_t, Lin&) {
      mean_of_tokens<Be>(be, X, lengths, pooled_);
      if (head.normalize) {
        unit_.forward(be, pooled_);
      }
      return pooled_;
    }
    template <class Lin>
    void backward(Be& be, const mean_pool_head& head, out<Be> d,
                  const std::vector<index_t>& lengths, index_t, Lin&, bool need_dx, out<Be> dX) {
      if (!need_dx) {
        return;
      }
      if (head.normalize) {
        unit_.backward(be, pooled_, d);
      }
      mean_of_tokens_gradient<Be>(be, d, lengths, dX);
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
    template <class Lin>
    in<Be> forward(Be& be, const cls_head&, in<Be> X, const std::vector<index_t>& lengths,
                   index_t pooler, Lin& lin) {
      first_tokens<Be>(be, X, lengths, first_);
      pooled_ = lin.forward(pooler, first_);
      be.each(tanh_kernel<T>{}, pooled_);
      return pooled_;
    }
    template <class Lin>
    void backward(Be& be, const cls_head&, out<Be> d, const std::vector<index_t>& lengths,
                  index_t pooler, Lin& lin, bool need_dx, out<Be> dX) {
      be.each(tanh_gradient_kernel<T>{}, d, in<Be>(pooled_));
      const out<Be> d_first = lin.backward(pooler, first_, d, need_dx);
      if (need_dx) {
        first_tokens_gradient<Be>(be, d_first, lengths, dX);
      }
    }

   private:
    mat<Be> first_;
    out<Be> pooled_;  // the operator's buffer
  };
};

}  // namespace preheat::nn
