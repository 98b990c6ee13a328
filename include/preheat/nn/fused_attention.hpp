// Self-attention of a decoder by kernels that keep no probabilities: what nn::causal_attention computes, where a backend
// has one call for all of it (cuda/fused_attention.hpp: cuDNN's, in bfloat16).
//
//   nn::decoder<Be, nn::fused_attention> net(be, weights);
//
// Forward keeps one number a query and head, from which backward makes P again: of n tokens n·heads numbers instead of
// n²·heads. Q, K, V and C must not change until backward.
//
// A text that goes on from a cache has more keys than queries: those are computed by nn::causal_attention. Errors: what
// the kernels refuse.
#pragma once
#include <algorithm>
#include <span>
#include <type_traits>
#include <vector>

#include "attention_span.hpp"
#include "causal_attention.hpp"

namespace preheat::nn {

// be.fused_attention() returns the kernels, which have a number type, a shape and the calls that are used below.
template <class Be>
concept has_fused_attention = decoder_backend<Be> && requires(Be& be) {
  requires std::is_lvalue_reference_v<decltype(be.fused_attention())>;
};

template <class Be>
class fused_attention {
  static_assert(has_fused_attention<Be>,
                "preheat: fused_attention needs a backend with be.fused_attention()");
  using kernels = std::remove_reference_t<decltype(std::declval<Be&>().fused_attention())>;
  using number = typename kernels::number;
  using shape_type = typename kernels::shape_type;

 public:
  using scratch = typename causal_attention<Be>::scratch;

  // C is heads·d × queries and is written.
  void forward(Be& be, const attention_shape& shape, std::span<const attention_span> sequences,
               view<const number> Q, view<const number> K, view<const number> V, view<number> C) {
    goes_on_ = std::any_of(sequences.begin(), sequences.end(),
                           [](const attention_span& s) { return s.past() > 0; });
    if (goes_on_) {
      products_.forward(be, shape, sequences, Q, K, V, C);
      return;
    }
    lengths_.clear();
    for (const attention_span& s : sequences) {
      lengths_.push_back(s.queries);
    }
    Q_ = Q;
    K_ = K;
    V_ = V;
    C_ = C;
    const shape_type s = shape_of(shape);
    be.resize(statistics_, kernels::statistics(s, lengths_), 1);
    be.fused_attention().forward(s, lengths_, Q, K, V, C, statistics_.data());
  }

  // Writes dQ, dK and dV, wanted or not.
  void backward(Be& be, const attention_shape& shape, std::span<const attention_span> sequences,
                view<const number> dC, const wanted_gradients& wanted, view<number> dQ,
                view<number> dK, view<number> dV, scratch& s) {
    if (goes_on_) {
      products_.backward(be, shape, sequences, dC, wanted, dQ, dK, dV, s);
      return;
    }
    be.fused_attention().backward(shape_of(shape), lengths_, Q_, K_, V_, C_, statistics_.data(), dC,
                                  dQ, dK, dV);
  }

 private:
  shape_type shape_of(const attention_shape& shape) const {
    return {shape.heads, shape.key_value_heads, shape.head_size(Q_.rows()), shape.window};
  }

  bool goes_on_ = false;
  std::vector<index_t> lengths_;
  view<const number> Q_, K_, V_, C_;
  mat<Be> statistics_;
  causal_attention<Be> products_;
};

}  // namespace preheat::nn
