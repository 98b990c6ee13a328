// One layer of a BERT encoder (post-norm), with everything that backward needs of a pass.
//
//   C = attention(Q·X, K·X, V·X),     A = layer_norm(X + D(O·C))
//   H = gelu(I·A),                    Y = layer_norm(A + D(P·H))
//
// Q, K, V, O, I and P are the six linear layers (with biases) of `linear_layer_names`, which go
// through the network's linear operator; D is dropout. X is hidden × tokens. Backward stops at the
// lowest layer that is trained: nothing below it is differentiated.
#pragma once
#include "attention.hpp"
#include "bert_weights.hpp"
#include "gelu.hpp"

namespace preheat::nn {

template <class T>
struct add_kernel {  // x += y
  static constexpr bool any_value = true;
  template <class V>
  constexpr void operator()(V& x, const V& y) const {
    x += y;
  }
};
template <class T>
struct add_three_kernel {  // x += a + b + c
  static constexpr bool any_value = true;
  template <class V>
  constexpr void operator()(V& x, const V& a, const V& b, const V& c) const {
    x += a + b + c;
  }
};

// What all blocks share in a pass: settings, and buffers of which one block at a time makes use.
template <class Be>
struct bert_pass {
  const bert_config& config;
  const std::vector<index_t>& lengths;
  dropout_site attention{};
  dropout_site hidden{};
  attention_scratch<Be>& scratch;
  mat<Be>& dropped;
};

template <encoder_backend Be>
class bert_block {
 public:
  using T = scalar_of<Be>;

  // `first` is the number of the block's first linear layer in the network.
  explicit bert_block(index_t first) : first_(first) {}

  // The result is valid until the next forward.
  template <class Lin>
  in<Be> forward(Be& be, const bert_block_norms<Be>& norms, const bert_pass<Be>& pass, in<Be> X,
                 Lin& lin) {
    X_ = X;
    const out<Be> Q = lin.forward(query(), X);
    const out<Be> K = lin.forward(key(), X);
    const out<Be> V = lin.forward(value(), X);
    C_ = attention_.forward(be, pass.config.num_attention_heads, pass.lengths, Q, K, V,
                            attention_site(pass), pass.scratch);
    const out<Be> O = lin.forward(attention_output(), C_);
    apply_dropout<Be>(be, hidden_site(pass, attention_output()), O);
    be.each(add_kernel<T>{}, O, X);
    A_ = attention_norm_.forward(be, norms.attention, pass.config.layer_norm_eps, O);

    Z_ = lin.forward(intermediate(), A_);
    be.resize(H_, Z_.rows(), Z_.cols());
    be.resize(cdf_, Z_.rows(), Z_.cols());
    be.each(gelu_kernel<T>{}, H_, cdf_, in<Be>(Z_));
    const out<Be> P = lin.forward(output(), H_);
    apply_dropout<Be>(be, hidden_site(pass, output()), P);
    be.each(add_kernel<T>{}, P, A_);
    return output_norm_.forward(be, norms.output, pass.config.layer_norm_eps, P);
  }

  // d is ∂/∂Y and becomes ∂/∂X, if a layer before this block is trained.
  template <class Lin>
  void backward(Be& be, const bert_block_norms<Be>& norms, const bert_pass<Be>& pass, out<Be> d,
                Lin& lin) {
    const index_t lowest = lin.first_trained();
    output_norm_.backward(be, norms.output, d);
    const out<Be> dH = lin.backward(
        output(), H_, with_dropout<Be>(be, hidden_site(pass, output()), d, pass.dropped),
        lowest < output());
    if (lowest >= output()) {
      return;
    }
    be.each(gelu_gradient_kernel<T>{}, dH, in<Be>(Z_), cdf_);
    const out<Be> dA = lin.backward(intermediate(), A_, dH, lowest < intermediate());
    if (lowest >= intermediate()) {
      return;
    }
    be.each(add_kernel<T>{}, d, in<Be>(dA));

    attention_norm_.backward(be, norms.attention, d);
    const out<Be> dC =
        lin.backward(attention_output(), C_,
                     with_dropout<Be>(be, hidden_site(pass, attention_output()), d, pass.dropped),
                     lowest < attention_output());
    if (lowest >= attention_output()) {
      return;
    }
    const attention_wanted wanted{
        .query = lowest <= query(), .key = lowest <= key(), .value = lowest <= value()};
    attention_.backward(be, pass.lengths, dC, wanted, attention_site(pass), pass.scratch);
    const bool below = lowest < query();
    const out<Be> through_value = lin.backward(value(), X_, pass.scratch.dV, below);
    if (!wanted.key) {
      return;
    }
    const out<Be> through_key = lin.backward(key(), X_, pass.scratch.dK, below);
    if (!wanted.query) {
      return;
    }
    const out<Be> through_query = lin.backward(query(), X_, pass.scratch.dQ, below);
    if (below) {
      be.each(add_three_kernel<T>{}, d, in<Be>(through_query), in<Be>(through_key),
              in<Be>(through_value));
    }
  }

  in<Be> output_states() const { return output_norm_.output(); }
  in<Be> probabilities(index_t first_token, index_t length, index_t head) const {
    return attention_.probabilities(first_token, length, head);
  }

 private:
  index_t query() const { return first_; }
  index_t key() const { return first_ + 1; }
  index_t value() const { return first_ + 2; }
  index_t attention_output() const { return first_ + 3; }
  index_t intermediate() const { return first_ + 4; }
  index_t output() const { return first_ + 5; }

  dropout_site attention_site(const bert_pass<Be>& pass) const {
    return pass.attention.fork(std::uint64_t(first_));
  }
  // After that linear layer.
  static dropout_site hidden_site(const bert_pass<Be>& pass, index_t layer) {
    return pass.hidden.fork(std::uint64_t(layer));
  }

  index_t first_;
  attention<Be> attention_;
  layer_norm<Be> attention_norm_;
  layer_norm<Be> output_norm_;
  in<Be> X_;
  in<Be> C_;
  in<Be> A_;
  out<Be> Z_;  // the operator's buffer
  mat<Be> H_;
  mat<Be> cdf_;
};

}  // namespace preheat::nn
