// Multi-head self-attention between the tokens of each sequence (Vaswani et al., arXiv 1706.03762).
//
//   per sequence of n tokens and head of d features:  Q, K, V are d×n, one column per token
//   forward   P = softmax(Kᵀ·Q/√d) over the keys (n×n, one column per query),  C = V·P
//   backward  dV = dC·Pᵀ,  dP = Vᵀ·dC,  dS = P⊙(dP − Σ_keys P⊙dP),
//             dQ = K·dS/√d,  dK = Q·dSᵀ/√d
//
// A token attends to the tokens of its own sequence only; batches have no padding, so there is no
// mask. With dropout C = V·D(P), and D is applied to dP too.
//
// Q, K, V, C are features × tokens, with head h in the rows h·d, …. Cost: 4·n²·features operations
// per sequence forward and 8·n²·features backward; P is stored, heads·n² numbers per sequence.
//
// A backend that multiplies grids of blocks computes all heads of consecutive sequences of one length in one
// call; another one computes head by head, which keeps P in the cache, and several heads at a time if it works in
// parallel.
#pragma once
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "dropout.hpp"
#include "encoder_backend.hpp"

namespace preheat::nn {

// Buffers that the layers of a network share, because only one layer computes at a time.
template <class Be>
struct attention_scratch {
  struct of_worker {          // of what is computed in one call
    activations<Be> dropped;  // D(P)
    activations<Be> dS;
  };
  std::vector<of_worker> workers;
  activations<Be> gradients;            // one below the other
  activation_view<Be> dQ, dK, dV, all;  // in it
};

// Which of dQ, dK and dV are needed.
struct attention_wanted {
  bool query = true;
  bool key = true;
  bool value = true;
};

template <encoder_backend Be>
class attention {
 public:
  using T = scalar_of<Be>;

  // Q, K and V must not change until backward. The result is valid until the next forward.
  const_activation_view<Be> forward(Be& be, index_t heads, const std::vector<index_t>& lengths,
                                    const_activation_view<Be> Q, const_activation_view<Be> K,
                                    const_activation_view<Be> V, const dropout_stream& site,
                                    attention_scratch<Be>& scratch) {
    heads_ = heads;
    Q_ = Q;
    K_ = K;
    V_ = V;
    const index_t longest = *std::max_element(lengths.begin(), lengths.end());
    be.resize(P_, longest, heads * Q.cols());
    be.resize(C_, Q.rows(), Q.cols());
    scratch.workers.resize(std::size_t(workers_of(be)));
    if constexpr (multiplies_grids<Be>) {
      each_run(lengths,
               [&](const run& at) { forward_of_run(be, at, site, scratch.workers.front()); });
    } else {
      each_head(be, lengths, [&](index_t worker, const place& at) {
        forward_of_head(be, at, site, scratch.workers[std::size_t(worker)]);
      });
    }
    return C_;
  }

  // Writes those of scratch.dQ, dK and dV that are needed.
  void backward(Be& be, const std::vector<index_t>& lengths, const_activation_view<Be> dC,
                const attention_wanted& wanted, const dropout_stream& site,
                attention_scratch<Be>& scratch) {
    const index_t rows = dC.rows();
    be.resize(scratch.gradients, 3 * rows, dC.cols());
    scratch.all = scratch.gradients;
    scratch.dQ = scratch.all.row_range(0, rows);
    scratch.dK = scratch.all.row_range(rows, rows);
    scratch.dV = scratch.all.row_range(2 * rows, rows);
    if constexpr (multiplies_grids<Be>) {
      each_run(lengths, [&](const run& at) {
        backward_of_run(be, at, dC, wanted, site, scratch, scratch.workers.front());
      });
    } else {
      each_head(be, lengths, [&](index_t worker, const place& at) {
        backward_of_head(be, at, dC, wanted, site, scratch, scratch.workers[std::size_t(worker)]);
      });
    }
  }

  // The probabilities of one head of the sequence that starts at token `first`: keys × queries.
  const_activation_view<Be> probabilities(index_t first, index_t length, index_t h) const {
    return const_activation_view<Be>(P_).block(0, heads_ * first + h * length, length, length);
  }

 private:
  // The position of one head of one sequence.
  struct place {
    index_t head, heads, first, length;
    std::uint64_t number;
    template <class V>
    V of(V x) const {
      const index_t size = x.rows() / heads;
      return x.block(head * size, first, size, length);
    }
  };
  // f(worker, place) for every head of every sequence; several at a time, but no two of one worker.
  template <class F>
  void each_head(Be& be, const std::vector<index_t>& lengths, F f) {
    firsts_.clear();
    index_t first = 0;
    for (const index_t length : lengths) {
      firsts_.push_back(first);
      first += length;
    }
    in_parallel(be, heads_ * index_t(lengths.size()), [&](index_t worker, index_t number) {
      const auto s = std::size_t(number / heads_);
      f(worker, place{number % heads_, heads_, firsts_[s], lengths[s], std::uint64_t(number)});
    });
  }
  using buffers = typename attention_scratch<Be>::of_worker;
  void forward_of_head(Be& be, const place& at, const dropout_stream& site, buffers& own) {
    const activation_view<Be> P = probabilities_at(at);
    be.gemm(scale(), transpose::yes, at.of(K_), transpose::no, at.of(Q_), 0, P);
    be.softmax_cols(P);
    const const_activation_view<Be> used =
        with_dropout(be, site.fork(at.number), const_activation_view<Be>(P), own.dropped);
    be.gemm(1, transpose::no, at.of(V_), transpose::no, used, 0, at.of(activation_view<Be>(C_)));
  }
  void backward_of_head(Be& be, const place& at, const_activation_view<Be> dC,
                        const attention_wanted& wanted, const dropout_stream& site,
                        attention_scratch<Be>& scratch, buffers& own) {
    const const_activation_view<Be> P = probabilities_at(at);
    const dropout_stream mask = site.fork(at.number);
    if (wanted.value) {
      const const_activation_view<Be> used = with_dropout(be, mask, P, own.dropped);
      be.gemm(1, transpose::no, at.of(dC), transpose::yes, used, 0, at.of(scratch.dV));
    }
    if (!wanted.query && !wanted.key) {
      return;
    }
    be.resize(own.dS, at.length, at.length);
    be.gemm(1, transpose::yes, at.of(V_), transpose::no, at.of(dC), 0, own.dS);
    apply_dropout(be, mask, view(own.dS));
    be.softmax_cols_gradient(P, own.dS);
    if (wanted.query) {
      be.gemm(scale(), transpose::no, at.of(K_), transpose::no, own.dS, 0, at.of(scratch.dQ));
    }
    if (wanted.key) {
      be.gemm(scale(), transpose::no, at.of(Q_), transpose::yes, own.dS, 0, at.of(scratch.dK));
    }
  }

  // All heads of consecutive sequences of one length.
  struct run {
    index_t heads, first, length, sequences;
    std::uint64_t number;  // of the first head

    // The blocks of Q, K, V, C or their gradients, features/heads × length.
    template <class X>
    block_grid<X> features(view<X> x) const {
      const index_t size = x.rows() / heads;
      return grid_of(x.col_range(first, length * sequences), size, length,
                     {heads, sequences, size, 0, length});
    }
    // The blocks of P and dS, length × length, that lie side by side.
    template <class X>
    block_grid<X> pairs(view<X> x) const {
      return grid_of(x, length, length, {heads, sequences, 0, length, heads * length});
    }
    index_t pair_entries() const { return length * length; }
    index_t pair_columns() const { return heads * sequences * length; }
  };
  template <class F>
  void each_run(const std::vector<index_t>& lengths, F f) {
    run at{heads_, 0, 0, 0, 0};
    for (std::size_t s = 0; s < lengths.size(); s += std::size_t(at.sequences)) {
      at.length = lengths[s];
      const auto other = std::find_if(lengths.begin() + std::ptrdiff_t(s), lengths.end(),
                                      [&](index_t length) { return length != at.length; });
      at.sequences = other - (lengths.begin() + std::ptrdiff_t(s));
      f(std::as_const(at));
      at.first += at.length * at.sequences;
      at.number += std::uint64_t(heads_ * at.sequences);
    }
  }
  void forward_of_run(Be& be, const run& at, const dropout_stream& site, buffers& own) {
    const activation_view<Be> P = probabilities_of(at);
    be.gemm_grid(scale(), transpose::yes, at.features(K_), transpose::no, at.features(Q_), 0,
                 at.pairs(P));
    be.softmax_cols(P);
    const const_activation_view<Be> used =
        with_block_dropout(be, site, at.pair_entries(), at.number, P, own.dropped);
    be.gemm_grid(1, transpose::no, at.features(V_), transpose::no, at.pairs(used), 0,
                 at.features(activation_view<Be>(C_)));
  }
  void backward_of_run(Be& be, const run& at, const_activation_view<Be> dC,
                       const attention_wanted& wanted, const dropout_stream& site,
                       attention_scratch<Be>& scratch, buffers& own) {
    const activation_view<Be> P = probabilities_of(at);
    if (wanted.value) {
      const const_activation_view<Be> used =
          with_block_dropout(be, site, at.pair_entries(), at.number, P, own.dropped);
      be.gemm_grid(1, transpose::no, at.features(dC), transpose::yes, at.pairs(used), 0,
                   at.features(scratch.dV));
    }
    if (!wanted.query && !wanted.key) {
      return;
    }
    be.resize(own.dS, at.length, at.pair_columns());
    const activation_view<Be> dS = own.dS;
    be.gemm_grid(1, transpose::yes, at.features(V_), transpose::no, at.features(dC), 0,
                 at.pairs(dS));
    apply_block_dropout(be, site, at.pair_entries(), at.number, dS);
    be.softmax_cols_gradient(P, dS);
    const block_grid<const activation_of<Be>> pairs = at.pairs(const_activation_view<Be>(dS));
    if (wanted.query) {
      be.gemm_grid(scale(), transpose::no, at.features(K_), transpose::no, pairs, 0,
                   at.features(scratch.dQ));
    }
    if (wanted.key) {
      be.gemm_grid(scale(), transpose::no, at.features(Q_), transpose::yes, pairs, 0,
                   at.features(scratch.dK));
    }
  }

  // Head h of the sequence that starts at token t has the columns heads·t + h·length, … of P.
  activation_view<Be> probabilities_at(const place& at) {
    return activation_view<Be>(P_).block(0, heads_ * at.first + at.head * at.length, at.length,
                                         at.length);
  }
  activation_view<Be> probabilities_of(const run& at) {
    return activation_view<Be>(P_).block(0, heads_ * at.first, at.length, at.pair_columns());
  }
  T scale() const { return T(1 / std::sqrt(double(Q_.rows() / heads_))); }

  index_t heads_ = 1;
  const_activation_view<Be> Q_, K_, V_;
  std::vector<index_t> firsts_;  // token of each sequence
  activations<Be> P_;
  activations<Be> C_;
};

}  // namespace preheat::nn
