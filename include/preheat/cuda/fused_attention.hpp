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
// workspace, of the context's stream: after a first step nothing is allocated, and a step may be captured in a graph. The
// graph computes the lengths with which it was captured, until the same plan computes others.
// Sequences of one length that is a multiple of 128 have a plan of their own; other batches are packed, and use the plan
// of the next larger numbers of sequences and tokens and length of the longest, so that few plans serve them all.
#pragma once
#include <cuda_bf16.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

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
  static index_t statistics(const shape_type& shape, std::span<const index_t> lengths) {
    return shape.heads * tokens_of(lengths);
  }

  // Errors: invalid_argument, for operands whose shapes do not fit, or whose columns do not begin at multiples of 16
  // bytes; cuda_error with cuDNN's text, for a shape that it does not compute.
  void forward(const shape_type& shape, std::span<const index_t> lengths, view<const number> Q,
               view<const number> K, view<const number> V, view<number> C, float* statistics);
  // Q, K, V, C and the statistics as forward had and wrote them. Writes dQ, dK and dV, which have the leading dimensions
  // of Q, K and V.
  void backward(const shape_type& shape, std::span<const index_t> lengths, view<const number> Q,
                view<const number> K, view<const number> V, view<const number> C,
                const float* statistics, view<const number> dC, view<number> dQ, view<number> dK,
                view<number> dV);

  // What the plans made so far share, in bytes.
  std::size_t workspace() const;

 private:
  static index_t tokens_of(std::span<const index_t> lengths) {
    index_t sum = 0;
    for (const index_t length : lengths) {
      require(length >= 1, "attention: tokens of a sequence >= 1", length, 1);
      sum += length;
    }
    require(sum >= 1, "attention: at least one sequence", sum, 1);
    return sum;
  }
  static void require_valid(const shape_type& s) {
    require(s.key_value_heads >= 1 && s.heads >= 1 && s.heads % s.key_value_heads == 0,
            "attention: heads are a multiple of key_value_heads", s.heads, s.key_value_heads);
    require(s.head_size >= 8 && s.head_size % 8 == 0, "attention: head_size is a multiple of 8",
            s.head_size, 8);
    require(s.window >= 0, "attention: window >= 0", s.window, 0);
  }
  static void require_operand(const char* name, view<const number> x, index_t heads,
                              const shape_type& s, std::span<const index_t> lengths) {
    const std::string begin = std::string("attention's ") + name + ": ";
    const index_t tokens = tokens_of(lengths);
    require(x.rows() == heads * s.head_size, begin + "rows = heads times head_size", x.rows(),
            heads * s.head_size);
    require(x.cols() == tokens, begin + "columns = tokens of all sequences", x.cols(), tokens);
    require(x.ld() % 8 == 0, begin + "leading dimension is a multiple of 8", x.ld(), 8);
    const std::uintptr_t beyond = std::uintptr_t(x.data()) % 16;
    require(beyond == 0, begin + "begins at a multiple of 16 bytes; bytes beyond it", beyond, 0);
  }
  static void require_operands(const shape_type& s, std::span<const index_t> lengths,
                               view<const number> Q, view<const number> K, view<const number> V,
                               view<const number> C) {
    require_valid(s);
    require_operand("Q", Q, s.heads, s, lengths);
    require_operand("K", K, s.key_value_heads, s, lengths);
    require_operand("V", V, s.key_value_heads, s, lengths);
    require_operand("C", C, s.heads, s, lengths);
  }
  static void require_gradients(const shape_type& s, std::span<const index_t> lengths,
                                view<const number> Q, view<const number> K, view<const number> V,
                                view<const number> dC, view<const number> dQ, view<const number> dK,
                                view<const number> dV) {
    require_operand("dC", dC, s.heads, s, lengths);
    require_operand("dQ", dQ, s.heads, s, lengths);
    require_operand("dK", dK, s.key_value_heads, s, lengths);
    require_operand("dV", dV, s.key_value_heads, s, lengths);
    require_one_step(Q, dQ);
    require_one_step(K, dK);
    require_one_step(V, dV);
  }

  // With gradients of another leading dimension those of cuDNN are wrong for sequences of different lengths.
  static void require_one_step(view<const number> x, view<const number> dx) {
    require(x.ld() == dx.ld(), "attention: the gradient's leading dimension is its operand's",
            dx.ld(), x.ld());
  }

  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace preheat
