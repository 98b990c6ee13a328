// Causal attention by fused kernels in bfloat16, those of cuDNN: of a text's n² probabilities none is stored. The
// members are compiled in kernels/cudnn_attention.cpp, which is the target preheat::cudnn.
//
//   per sequence and head h of d features, with the keys and values of head h·key_value_heads/heads:
//   forward   P = causal softmax(Kᵀ·Q/√d),  C = V·P,  and a query's log Σ exp
//   backward  P again from that number; dV, dQ and dK as in nn/causal_attention.hpp
//
// Operands and results are bfloat16; sums, the softmax and its statistics are float. Q and C are heads·d × tokens, K and
// V are key_value_heads·d × tokens, sequences one after another without padding: parts of the matrix that a product
// wrote, or matrices of their own. Nothing is copied or transposed.
//
// A plan is made when a shape is first seen, which takes a fraction of a second, and is kept. All plans share one
// workspace, of the context's stream: after a first step nothing is allocated, and a step may be captured in a graph.
// Sequences of one length that is a multiple of 128 have a plan of their own; other batches are packed, and use the plan
// of the next larger numbers of sequences and tokens and length of the longest, so that few plans serve them all.
#pragma once
#include <cuda_bf16.h>

#include <memory>
#include <span>

#include "context.hpp"

namespace preheat {

class cuda_fused_attention {
 public:
  using number = __nv_bfloat16;

  struct shape_type {
    index_t heads = 1;
    index_t key_value_heads = 1;
    index_t head_size = 64;  // d, a multiple of 8; of cuDNN on Hopper at most 256
    index_t window = 0;      // keys that a query sees, itself among them; 0: all before it
  };

  // What a plan may be. Gradients of queries are sums that the kernel adds up in any order, unless they are to repeat
  // bit by bit: that takes 2·heads·longest² bytes a sequence, and time.
  struct options {
    bool repeatable = false;
  };

  explicit cuda_fused_attention(std::shared_ptr<const cuda_context> context)
      : cuda_fused_attention(std::move(context), options()) {}
  // Errors: cuda_error with cuDNN's text, if it cannot be used.
  cuda_fused_attention(std::shared_ptr<const cuda_context> context, options chosen);
  cuda_fused_attention(cuda_fused_attention&&) noexcept;
  cuda_fused_attention& operator=(cuda_fused_attention&&) noexcept;
  ~cuda_fused_attention();

  // How many numbers forward keeps for backward.
  static index_t statistics(const shape_type& shape, std::span<const index_t> lengths);

  // Errors: invalid_argument, for operands whose shapes do not fit, or whose columns do not begin at multiples of 16
  // bytes; cuda_error with cuDNN's text, for a shape that it does not compute.
  void forward(const shape_type& shape, std::span<const index_t> lengths, view<const number> Q,
               view<const number> K, view<const number> V, view<number> C, float* statistics);
  // Q, K, V, C and the statistics as forward had and wrote them. Writes dQ, dK and dV.
  void backward(const shape_type& shape, std::span<const index_t> lengths, view<const number> Q,
                view<const number> K, view<const number> V, view<const number> C,
                const float* statistics, view<const number> dC, view<number> dQ, view<number> dK,
                view<number> dV);

  // What the plans made so far share, in bytes.
  std::size_t workspace() const;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace preheat
