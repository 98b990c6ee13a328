// Self-attention of a decoder: a token sees itself and the tokens before it in its own sequence, of
// these the nearest `window` if there is one. Groups of heads share keys and values (grouped-query
// attention, Ainslie et al., arXiv 2305.13245).
//
//   per sequence and head h of d features, with the keys and values of head h·key_value_heads/heads:
//   forward   P = causal softmax(Kᵀ·Q/√d) over the keys (keys × queries),  C = V·P
//   backward  dV = Σ_h dC·Pᵀ,  dP = Vᵀ·dC,  dS = P⊙(dP − Σ_keys P⊙dP),
//             dQ = K·dS/√d,  dK = Σ_h Q·dSᵀ/√d
//
// Queries are taken in tiles of `tile`, and each tile with the keys that some query in it sees: of n
// tokens about half of n² products remain. Sequences are packed without padding; no number depends
// on another sequence. A sequence's keys may be more than its queries: those before them, from a
// cache.
//
// Q is heads·d × queries, K and V are key_value_heads·d × keys. P is kept for backward: at most
// heads·longest numbers a token.
//
// A backend that can (attends_in_grids) computes all heads of a tile of consecutive sequences of one length in
// one call; another one goes from head to head, which keeps P in the cache.
#pragma once
#include <algorithm>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "attention_span.hpp"
#include "decoder_backend.hpp"
#include "decoder_config.hpp"
#include "grid_tiles.hpp"

namespace preheat::nn {

struct attention_shape {
  index_t heads = 1;
  index_t key_value_heads = 1;
  index_t window = 0;  // 0: none

  index_t head_size(index_t rows_of_queries) const { return rows_of_queries / heads; }
};

// Which of dQ, dK and dV are needed.
struct wanted_gradients {
  bool query = true;
  bool key = true;
  bool value = true;
};

// An attention of this kind is a strategy of nn::decoder (nn/fused_attention.hpp is another one). It keeps from forward
// to backward what it likes; scratch is what the blocks of a network share, because one computes at a time. Its
// parameter is not constrained, because that of nn::decoder, a template, is not.
template <class Be>
class causal_attention {
  static_assert(decoder_backend<Be>,
                "preheat: causal_attention needs the operations of nn/decoder_backend.hpp");

 public:
  using T = scalar_of<Be>;
  struct scratch {
    std::vector<activations<Be>> dS;  // of each worker
  };
  static constexpr index_t tile = attends_in_grids<Be> ? 256 : 128;

  // Q, K and V must not change until backward. C is heads·d × queries and is written.
  void forward(Be& be, const attention_shape& shape, std::span<const attention_span> sequences,
               const_activation_view<Be> Q, const_activation_view<Be> K,
               const_activation_view<Be> V, activation_view<Be> C, scratch&) {
    Q_ = Q;
    K_ = K;
    V_ = V;
    be.resize(P_, most_keys(shape, sequences), shape.heads * Q.cols());
    if constexpr (attends_in_grids<Be>) {
      each_grid(shape, sequences, [&](const grid_tile& at) {
        const activation_view<Be> P = at.part_of(activation_view<Be>(P_));
        be.gemm_grid(scale(at.size), transpose::yes, at.key_blocks(K), transpose::no,
                     at.query_blocks(Q), 0, at.pairs(P));
        be.softmax_cols_causal(at.shift, at.window, at.queries, P);
        be.gemm_grid(1, transpose::no, at.key_blocks(V), transpose::no,
                     at.pairs(const_activation_view<Be>(P)), 0, at.query_blocks(C));
      });
      return;
    }
    each_tile(be, shape, sequences, [&](index_t, const place& at) {
      const activation_view<Be> P =
          activation_view<Be>(P_).block(0, at.column, at.keys, at.queries);
      be.gemm(scale(at.size), transpose::yes, at.key_block(K), transpose::no, at.query_block(Q), 0,
              P);
      be.softmax_cols_causal(at.shift, at.window, P);
      be.gemm(1, transpose::no, at.key_block(V), transpose::no, const_activation_view<Be>(P), 0,
              at.query_block(C));
    });
  }

  // Writes those of dQ, dK and dV that are wanted.
  void backward(Be& be, const attention_shape& shape, std::span<const attention_span> sequences,
                const_activation_view<Be> dC, const wanted_gradients& wanted,
                activation_view<Be> dQ, activation_view<Be> dK, activation_view<Be> dV,
                scratch& s) {
    if (adds_to_gradients(sequences)) {
      if (wanted.key) {
        be.fill(0, dK);
      }
      if (wanted.value) {
        be.fill(0, dV);
      }
    }
    s.dS.resize(std::size_t(workers_of(be)));
    if constexpr (attends_in_grids<Be>) {
      each_grid(shape, sequences, [&](const grid_tile& at) {
        backward_of_grid(be, at, dC, wanted, dQ, dK, dV, s.dS.front());
      });
      return;
    }
    each_tile(be, shape, sequences, [&](index_t worker, const place& at) {
      const const_activation_view<Be> P =
          const_activation_view<Be>(P_).block(0, at.column, at.keys, at.queries);
      if (wanted.value) {
        be.gemm(1, transpose::no, at.query_block(dC), transpose::yes, P, 1, at.key_block(dV));
      }
      if (!wanted.query && !wanted.key) {
        return;
      }
      activations<Be>& dS = s.dS[std::size_t(worker)];
      be.resize(dS, at.keys, at.queries);
      be.gemm(1, transpose::yes, at.key_block(V_), transpose::no, at.query_block(dC), 0, dS);
      be.softmax_cols_gradient(P, dS);
      if (wanted.query) {
        be.gemm(scale(at.size), transpose::no, at.key_block(K_), transpose::no, dS, 0,
                at.query_block(dQ));
      }
      if (wanted.key) {
        be.gemm(scale(at.size), transpose::no, at.query_block(Q_), transpose::yes, dS, 1,
                at.key_block(dK));
      }
    });
  }

 private:
  // A tile of queries of one head, and the keys that they see.
  struct place {
    index_t size;            // d
    index_t head, key_head;  // numbers
    index_t query, queries;  // the first column and how many
    index_t key, keys;
    index_t shift, window;  // of the causal softmax
    index_t column;         // of P
    template <class X>
    X query_block(X x) const {
      return x.block(head * size, query, size, queries);
    }
    template <class X>
    X key_block(X x) const {
      return x.block(key_head * size, key, size, keys);
    }
  };
  void backward_of_grid(Be& be, const grid_tile& at, const_activation_view<Be> dC,
                        const wanted_gradients& wanted, activation_view<Be> dQ,
                        activation_view<Be> dK, activation_view<Be> dV, activations<Be>& room) {
    const const_activation_view<Be> P = at.part_of(const_activation_view<Be>(P_));
    if (wanted.value) {
      // Heads that share keys add to one block, one after the other.
      for (index_t number = 0; number < at.shared; ++number) {
        be.gemm_grid(1, transpose::no, at.query_blocks(dC, number), transpose::yes,
                     at.pairs(P, number), keep(at, number), at.key_blocks_once(dV));
      }
    }
    if (!wanted.query && !wanted.key) {
      return;
    }
    be.resize(room, at.keys, at.pair_columns());
    const activation_view<Be> dS(room);
    be.gemm_grid(1, transpose::yes, at.key_blocks(V_), transpose::no, at.query_blocks(dC), 0,
                 at.pairs(dS));
    be.softmax_cols_gradient(P, dS);
    if (wanted.query) {
      be.gemm_grid(scale(at.size), transpose::no, at.key_blocks(K_), transpose::no,
                   at.pairs(const_activation_view<Be>(dS)), 0, at.query_blocks(dQ));
    }
    for (index_t number = 0; wanted.key && number < at.shared; ++number) {
      be.gemm_grid(scale(at.size), transpose::no, at.query_blocks(Q_, number), transpose::yes,
                   at.pairs(const_activation_view<Be>(dS), number), keep(at, number),
                   at.key_blocks_once(dK));
    }
  }
  // Whether products add to what is there of dK and dV: not all do where one grid of tiles is all of a sequence.
  static bool adds_to_gradients(std::span<const attention_span> sequences) {
    return !attends_in_grids<Be> ||
           !std::all_of(sequences.begin(), sequences.end(), [](const attention_span& s) {
             return s.queries <= tile && s.keys == s.queries;
           });
  }
  static T keep(const grid_tile& at, index_t number) {
    const bool whole = at.queries == at.query_step && at.keys == at.key_step;
    return whole && number == 0 ? T(0) : T(1);
  }
  // f(tile) for all tiles of all runs of sequences of one length that lie side by side.
  template <class F>
  void each_grid(const attention_shape& shape, std::span<const attention_span> sequences, F f) {
    for (std::size_t s = 0; s < sequences.size();) {
      const std::size_t count = sequences_alike(sequences.subspan(s));
      const attention_span& head = sequences[s];
      for (index_t first = 0; first < head.queries; first += tile) {
        place at{};
        set_tile(shape, head, first, at);
        f(grid_tile{shape.heads, shape.heads / shape.key_value_heads, shape.head_size(Q_.rows()),
                    index_t(count), at.query, at.queries, head.queries, at.key, at.keys, head.keys,
                    at.shift, at.window,
                    shape.heads * (head.first_query + index_t(count) * first)});
      }
      s += count;
    }
  }
  static T scale(index_t size) { return T(1 / std::sqrt(double(size))); }

  // f(worker, tile) for all tiles of all heads: those that share keys one after the other, others
  // several at a time, but no two of one worker.
  template <class F>
  void each_tile(Be& be, const attention_shape& shape, std::span<const attention_span> sequences,
                 F f) {
    const index_t groups = shape.key_value_heads;
    const index_t heads = shape.heads / groups;  // of a group
    in_parallel(be, groups * index_t(sequences.size()), [&](index_t worker, index_t number) {
      const attention_span& s = sequences[std::size_t(number / groups)];
      place at{};
      at.size = shape.head_size(Q_.rows());
      at.key_head = number % groups;
      for (at.head = at.key_head * heads; at.head < (at.key_head + 1) * heads; ++at.head) {
        for (index_t first = 0; first < s.queries; first += tile) {
          at.column = shape.heads * s.first_query + at.head * s.queries + first;
          set_tile(shape, s, first, at);
          f(worker, std::as_const(at));
        }
      }
    });
  }
  static void set_tile(const attention_shape& shape, const attention_span& s, index_t first,
                       place& at) {
    at.query = s.first_query + first;
    at.queries = std::min(tile, s.queries - first);
    const index_t position = s.keys - s.queries + first;  // of the tile's first query
    const index_t end = position + at.queries;
    const index_t begin = shape.window > 0 ? std::max<index_t>(position - shape.window + 1, 0) : 0;
    at.key = s.first_key + begin;
    at.keys = end - begin;
    at.shift = position - begin;
    at.window = shape.window > 0 ? shape.window : end;
  }
  static index_t most_keys(const attention_shape& shape,
                           std::span<const attention_span> sequences) {
    index_t most = 0;
    for (const attention_span& s : sequences) {
      most = std::max(most, shape.window > 0 ? std::min(s.keys, shape.window + tile - 1) : s.keys);
    }
    return most;
  }

  const_activation_view<Be> Q_, K_, V_;
  activations<Be> P_;
};

}  // namespace preheat::nn
