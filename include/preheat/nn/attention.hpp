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
#include <vector>

#include "dropout.hpp"
#include "encoder_backend.hpp"

namespace preheat::nn {

// Buffers that the layers of a network share, because only one of them is at work at a time.
template <class Be>
struct attention_scratch {
  mat<Be> dropped;  // D(P) of one sequence
  mat<Be> dS;       // of one sequence
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
    index_t first = 0;
    for (std::size_t s = 0; s < lengths.size(); ++s) {
      const index_t n = lengths[s];
      const out<Be> P = probabilities_of_sequence(first, n);
      for (index_t h = 0; h < heads; ++h) {
        be.gemm(scale(), op::trans, head(K, h, first, n), op::none, head(Q, h, first, n), 0,
                P.col_range(h * n, n));
      }
      be.softmax_cols(P);
      const in<Be> used = with_dropout<Be>(be, site.fork(s), P, scratch.dropped);
      for (index_t h = 0; h < heads; ++h) {
        be.gemm(1, op::none, head(V, h, first, n), op::none, used.col_range(h * n, n), 0,
                head(out<Be>(C_), h, first, n));
      }
      first += n;
    }
    return C_;
  }

  // Writes those of scratch.dQ, dK and dV that are wanted.
  void backward(Be& be, const std::vector<index_t>& lengths, in<Be> dC,
                const attention_wanted& wanted, const dropout_site& site,
                attention_scratch<Be>& scratch) {
    const index_t longest = *std::max_element(lengths.begin(), lengths.end());
    be.resize(scratch.dS, longest, heads_ * longest);
    be.resize(scratch.dQ, dC.rows(), dC.cols());
    be.resize(scratch.dK, dC.rows(), dC.cols());
    be.resize(scratch.dV, dC.rows(), dC.cols());
    index_t first = 0;
    for (std::size_t s = 0; s < lengths.size(); ++s) {
      const index_t n = lengths[s];
      const in<Be> P = probabilities_of_sequence(first, n);
      if (wanted.value) {
        const in<Be> used = with_dropout<Be>(be, site.fork(s), P, scratch.dropped);
        for (index_t h = 0; h < heads_; ++h) {
          be.gemm(1, op::none, head(dC, h, first, n), op::trans, used.col_range(h * n, n), 0,
                  head(out<Be>(scratch.dV), h, first, n));
        }
      }
      if (wanted.query || wanted.key) {
        score_gradient(be, first, n, dC, wanted, site.fork(s), scratch);
      }
      first += n;
    }
  }

  // Of one head of the sequence that starts at token `first`: keys × queries.
  in<Be> probabilities(index_t first, index_t length, index_t h) const {
    return in<Be>(P_).block(0, heads_ * first + h * length, length, length);
  }

 private:
  T scale() const { return T(1 / std::sqrt(double(Q_.rows() / heads_))); }
  // The heads of a sequence side by side.
  out<Be> probabilities_of_sequence(index_t first, index_t n) {
    return out<Be>(P_).block(0, heads_ * first, n, heads_ * n);
  }
  template <class V>
  V head(V x, index_t h, index_t first, index_t n) const {
    const index_t size = x.rows() / heads_;
    return x.block(h * size, first, size, n);
  }
  void score_gradient(Be& be, index_t first, index_t n, in<Be> dC, const attention_wanted& wanted,
                      const dropout_site& site, attention_scratch<Be>& scratch) {
    const out<Be> dS = out<Be>(scratch.dS).block(0, 0, n, heads_ * n);
    for (index_t h = 0; h < heads_; ++h) {
      be.gemm(1, op::trans, head(V_, h, first, n), op::none, head(dC, h, first, n), 0,
              dS.col_range(h * n, n));
    }
    apply_dropout<Be>(be, site, dS);
    be.softmax_cols_gradient(probabilities_of_sequence(first, n), dS);
    for (index_t h = 0; h < heads_; ++h) {
      const in<Be> dS_of_head = dS.col_range(h * n, n);
      if (wanted.query) {
        be.gemm(scale(), op::none, head(K_, h, first, n), op::none, dS_of_head, 0,
                head(out<Be>(scratch.dQ), h, first, n));
      }
      if (wanted.key) {
        be.gemm(scale(), op::none, head(Q_, h, first, n), op::trans, dS_of_head, 0,
                head(out<Be>(scratch.dK), h, first, n));
      }
    }
  }

  index_t heads_ = 1;
  in<Be> Q_, K_, V_;
  mat<Be> P_;
  mat<Be> C_;
};

}  // namespace preheat::nn
