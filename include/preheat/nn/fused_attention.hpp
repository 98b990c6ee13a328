// Causal self-attention by kernels that store no probabilities, as a strategy of nn::decoder:
//
//   template <class Be>
//   using attention = nn::fused_attention<Be, cuda_fused_attention>;   // cuda/fused_attention.hpp, by cuDNN
//   nn::decoder<Be, attention> net(be, weights);
//
// Kernels are made from be.context() once for all blocks, and have:
//
//   statistics(shape, lengths)                          how many scalars a block keeps
//   forward(shape, lengths, Q, K, V, C, statistics)     writes C and those
//   backward(shape, lengths, Q, K, V, C, statistics, dC, dQ, dK, dV)
//
// with activations as operands (nn/causal_attention.hpp has the equations). Memory a block: heads numbers a token
// instead of heads·longest. Computed by causal_attention are a pass whose sequences go on from a cache, where keys are
// more than queries, and one whose Q, K and V are not parts of one matrix: norms of q and k, and layers that are not
// joined. With operands of different leading dimensions cuDNN's gradients for texts of different lengths were wrong.
#pragma once
#include <algorithm>
#include <optional>

#include "causal_attention.hpp"
#include "layers_together.hpp"

namespace preheat::nn {

template <class Be, class Kernels>
class fused_attention {
 public:
  struct scratch {
    std::optional<Kernels> kernels;
    typename causal_attention<Be>::scratch products;
  };

  // Q, K, V and C must not change until backward. C is written.
  void forward(Be& be, const attention_shape& shape, std::span<const attention_span> sequences,
               const_activation_view<Be> Q, const_activation_view<Be> K,
               const_activation_view<Be> V, activation_view<Be> C, scratch& s) {
    fused_ = lies_below(Q, K) && lies_below(K, V) &&
             std::none_of(sequences.begin(), sequences.end(),
                          [](const attention_span& one) { return one.past() > 0; });
    if (!fused_) {
      products_.forward(be, shape, sequences, Q, K, V, C, s.products);
      return;
    }
    Q_ = Q;
    K_ = K;
    V_ = V;
    C_ = C;
    lengths_.clear();
    for (const attention_span& one : sequences) {
      lengths_.push_back(one.queries);
    }
    const auto kernel_shape = shape_of(shape);
    be.resize(statistics_, Kernels::statistics(kernel_shape, lengths_), 1);
    if (!s.kernels) {
      s.kernels.emplace(be.context());
    }
    s.kernels->forward(kernel_shape, lengths_, Q, K, V, C, statistics_.data());
  }
  // Writes dQ, dK and dV, by the kernels also those that are not wanted.
  void backward(Be& be, const attention_shape& shape, std::span<const attention_span> sequences,
                const_activation_view<Be> dC, const wanted_gradients& wanted,
                activation_view<Be> dQ, activation_view<Be> dK, activation_view<Be> dV,
                scratch& s) {
    if (!fused_) {
      products_.backward(be, shape, sequences, dC, wanted, dQ, dK, dV, s.products);
      return;
    }
    s.kernels->backward(shape_of(shape), lengths_, Q_, K_, V_, C_, statistics_.data(), dC, dQ, dK,
                        dV);
  }

 private:
  typename Kernels::shape_type shape_of(const attention_shape& shape) const {
    return {shape.heads, shape.key_value_heads, shape.head_size(Q_.rows()), shape.window};
  }

  bool fused_ = false;
  causal_attention<Be> products_;
  const_activation_view<Be> Q_, K_, V_, C_;
  mat<Be> statistics_;
  std::vector<index_t> lengths_;
};

}  // namespace preheat::nn
