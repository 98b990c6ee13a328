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
  mat<Be> dropped;  // D(P) of one head of one sequence
  mat<Be> dS;       // likewise
  mat<Be> dQ, dK, dV;
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
  const_view_of<Be> forward(Be& be, index_t heads, const std::vector<index_t>& lengths,
                            const_view_of<Be> Q, const_view_of<Be> K, const_view_of<Be> V,
                            const dropout_stream& site, attention_scratch<Be>& scratch) {
    heads_ = heads;
    Q_ = Q;
    K_ = K;
    V_ = V;
    const index_t longest = *std::max_element(lengths.begin(), lengths.end());
    be.resize(P_, longest, heads * Q.cols());
    be.resize(C_, Q.rows(), Q.cols());
    each_head(lengths, [&](const place& at) {
      const view_of<Be> P = probabilities_at(at);
      be.gemm(scale(), transpose::yes, at.of(K), transpose::no, at.of(Q), 0, P);
      be.softmax_cols(P);
      const const_view_of<Be> used = with_dropout(be, site.fork(at.number), P, scratch.dropped);
      be.gemm(1, transpose::no, at.of(V), transpose::no, used, 0, at.of(view_of<Be>(C_)));
    });
    return C_;
  }

  // Writes those of scratch.dQ, dK and dV that are needed.
  void backward(Be& be, const std::vector<index_t>& lengths, const_view_of<Be> dC,
                const attention_wanted& wanted, const dropout_stream& site,
                attention_scratch<Be>& scratch) {
    be.resize(scratch.dQ, dC.rows(), dC.cols());
    be.resize(scratch.dK, dC.rows(), dC.cols());
    be.resize(scratch.dV, dC.rows(), dC.cols());
    each_head(lengths, [&](const place& at) {
      const const_view_of<Be> P = probabilities_at(at);
      const dropout_stream own = site.fork(at.number);
      if (wanted.value) {
        const const_view_of<Be> used = with_dropout(be, own, P, scratch.dropped);
        be.gemm(1, transpose::no, at.of(dC), transpose::yes, used, 0,
                at.of(view_of<Be>(scratch.dV)));
      }
      if (!wanted.query && !wanted.key) {
        return;
      }
      be.resize(scratch.dS, at.length, at.length);
      be.gemm(1, transpose::yes, at.of(V_), transpose::no, at.of(dC), 0, scratch.dS);
      apply_dropout(be, own, scratch.dS);
      be.softmax_cols_gradient(P, scratch.dS);
      if (wanted.query) {
        be.gemm(scale(), transpose::no, at.of(K_), transpose::no, scratch.dS, 0,
                at.of(view_of<Be>(scratch.dQ)));
      }
      if (wanted.key) {
        be.gemm(scale(), transpose::no, at.of(Q_), transpose::yes, scratch.dS, 0,
                at.of(view_of<Be>(scratch.dK)));
      }
    });
  }

  // The probabilities of one head of the sequence that starts at token `first`: keys × queries.
  const_view_of<Be> probabilities(index_t first, index_t length, index_t h) const {
    return const_view_of<Be>(P_).block(0, heads_ * first + h * length, length, length);
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
  template <class F>
  void each_head(const std::vector<index_t>& lengths, F f) {
    place at{0, heads_, 0, 0, 0};
    for (const index_t length : lengths) {
      at.length = length;
      for (at.head = 0; at.head < heads_; ++at.head) {
        f(std::as_const(at));
        ++at.number;
      }
      at.first += length;
    }
  }
  view_of<Be> probabilities_at(const place& at) {
    return view_of<Be>(P_).block(0, heads_ * at.first + at.head * at.length, at.length, at.length);
  }
  T scale() const { return T(1 / std::sqrt(double(Q_.rows() / heads_))); }

  index_t heads_ = 1;
  const_view_of<Be> Q_, K_, V_;
  mat<Be> P_;
  mat<Be> C_;
};

}  // namespace preheat::nn
