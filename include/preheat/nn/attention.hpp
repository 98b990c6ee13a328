// Multi-head self-attention between the tokens of each sequence (Vaswani et al., arXiv 1706.03762).
//
//   per sequence of n tokens and head of d features:  Q, K, V are d×n, one column a token
//   forward   P = softmax(Kᵀ·Q/√d) over the keys (n×n, one column a query),  C = V·P
//   backward  dV = dC·Pᵀ,  dP = Vᵀ·dC,  dS = P⊙(dP − Σ_keys P⊙dP),
//             dQ = K·dS/√d,  dK = Q·dSᵀ/√d
//
// A token sees the tokens of its own sequence and nothing else; batches have no padding, so there is
// no mask to apply. With dropout C = V·D(P), and D is applied to dP too.
//
// Q, K, V, C are features × tokens, head h in the rows h·d, …. Cost: 4·n²·features operations a
// sequence forward, 8·n² backward; P is kept, heads·n² numbers a sequence.
#pragma once
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "dropout.hpp"
#include "encoder_backend.hpp"

namespace preheat::nn {

// Buffers that the layers of a network share, because only one of them is at work at a time.
template <class Be>
struct attention_scratch {
  mat<Be> dropped;  // D(P) of one head of one sequence
  mat<Be> dS;       // likewise
  mat<Be> dQ, dK, dV;
};

// Which of dQ, dK and dV somebody asks for.
struct attention_wanted {
  bool query = true;
  bool key = true;
  bool value = true;
};

template <encoder_backend Be>
class attention {
 public:
  using T = scalar_of<Be>;

  // Q, K and V must stay as they are until backward. The result is valid until the next forward.
  in<Be> forward(Be& be, index_t heads, const std::vector<index_t>& lengths, in<Be> Q, in<Be> K,
                 in<Be> V, const dropout_site& site, attention_scratch<Be>& scratch) {
    heads_ = heads;
    Q_ = Q;
    K_ = K;
    V_ = V;
    const index_t longest = *std::max_element(lengths.begin(), lengths.end());
    be.resize(P_, longest, heads * Q.cols());
    be.resize(C_, Q.rows(), Q.cols());
    each_head(lengths, [&](const place& at) {
      const out<Be> P = probabilities_at(at);
      be.gemm(scale(), op::trans, at.of(K), op::none, at.of(Q), 0, P);
      be.softmax_cols(P);
      const in<Be> used = with_dropout<Be>(be, site.fork(at.number), P, scratch.dropped);
      be.gemm(1, op::none, at.of(V), op::none, used, 0, at.of(out<Be>(C_)));
    });
    return C_;
  }

  // Writes those of scratch.dQ, dK and dV that are wanted.
  void backward(Be& be, const std::vector<index_t>& lengths, in<Be> dC,
                const attention_wanted& wanted, const dropout_site& site,
                attention_scratch<Be>& scratch) {
    be.resize(scratch.dQ, dC.rows(), dC.cols());
    be.resize(scratch.dK, dC.rows(), dC.cols());
    be.resize(scratch.dV, dC.rows(), dC.cols());
    each_head(lengths, [&](const place& at) {
      const in<Be> P = probabilities_at(at);
      const dropout_site own = site.fork(at.number);
      if (wanted.value) {
        const in<Be> used = with_dropout<Be>(be, own, P, scratch.dropped);
        be.gemm(1, op::none, at.of(dC), op::trans, used, 0, at.of(out<Be>(scratch.dV)));
      }
      if (!wanted.query && !wanted.key) {
        return;
      }
      be.resize(scratch.dS, at.length, at.length);
      be.gemm(1, op::trans, at.of(V_), op::none, at.of(dC), 0, scratch.dS);
      apply_dropout<Be>(be, own, scratch.dS);
      be.softmax_cols_gradient(P, scratch.dS);
      if (wanted.query) {
        be.gemm(scale(), op::none, at.of(K_), op::none, scratch.dS, 0, at.of(out<Be>(scratch.dQ)));
      }
      if (wanted.key) {
        be.gemm(scale(), op::none, at.of(Q_), op::trans, scratch.dS, 0, at.of(out<Be>(scratch.dK)));
      }
    });
  }

  // Of one head of the sequence that starts at token `first`: keys × queries.
  in<Be> probabilities(index_t first, index_t length, index_t h) const {
    return in<Be>(P_).block(0, heads_ * first + h * length, length, length);
  }

 private:
  // One head of one sequence.
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
  out<Be> probabilities_at(const place& at) {
    return out<Be>(P_).block(0, heads_ * at.first + at.head * at.length, at.length, at.length);
  }
  T scale() const { return T(1 / std::sqrt(double(Q_.rows() / heads_))); }

  index_t heads_ = 1;
  in<Be> Q_, K_, V_;
  mat<Be> P_;
  mat<Be> C_;
};

}  // namespace preheat::nn
