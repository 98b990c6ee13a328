// One layer of a BERT encoder (post-norm), with everything of a pass that backward needs.
//
//   C = attention(Q·X, K·X, V·X),     A = layer_norm(X + D(O·C))
//   H = gelu(I·A),                    Y = layer_norm(A + D(P·H))
//
// Q, K, V, O, I and P are the six linear layers (with biases) of `linear_layer_names`, computed
// through the network's linear operator; D is dropout. X is hidden × tokens. Backward stops at the
// lowest layer that is trained: nothing below it is differentiated.
#pragma once
#include "attention.hpp"
#include "bert_weights.hpp"
#include "gelu.hpp"
#include "layers_together.hpp"
#include "sums.hpp"

namespace preheat::nn {

// What all blocks share in a pass: settings, and buffers that one block at a time uses.
template <class Be>
struct bert_pass {
  const bert_config& config;
  const std::vector<index_t>& lengths;
  dropout_stream attention{};
  dropout_stream hidden{};
  attention_scratch<Be>& scratch;
  activations<Be>& dropped;
};

template <encoder_backend Be>
class bert_block {
 public:
  using T = scalar_of<Be>;

  // `first` is the number of the block's first linear layer in the network.
  explicit bert_block(index_t first) : first_(first) {}

  // The result is valid until the next forward.
  template <class Linear>
  const_activation_view<Be> forward(Be& be, const bert_block_norms<Be>& norms,
                                    const bert_pass<Be>& pass, const_activation_view<Be> X,
                                    Linear& linear) {
    X_ = X;
    const auto attend = [&](activation_view<Be> Q, activation_view<Be> K, activation_view<Be> V) {
      C_ = attention_.forward(be, pass.config.num_attention_heads, pass.lengths, Q, K, V,
                              attention_dropout(pass), pass.scratch);
    };
    if (together<activation_of<Be>>(linear, query(), 3)) {
      const activation_view<Be> all = forward_together<activation_of<Be>>(linear, query(), 3, X);
      const index_t rows = all.rows() / 3;
      attend(all.row_range(0, rows), all.row_range(rows, rows), all.row_range(2 * rows, rows));
    } else {
      const activation_view<Be> Q = linear.forward(query(), X);
      const activation_view<Be> K = linear.forward(key(), X);
      attend(Q, K, linear.forward(value(), X));
    }
    const activation_view<Be> O = linear.forward(attention_output(), C_);
    apply_dropout(be, hidden_dropout(pass, attention_output()), O);
    be.apply(add_kernel<T>{}, O, X);
    A_ = attention_norm_.forward(be, norms.attention, pass.config.layer_norm_eps, O);

    Z_ = linear.forward(intermediate(), A_);
    be.resize(H_, Z_.rows(), Z_.cols());
    be.resize(cdf_, Z_.rows(), Z_.cols());
    be.apply(gelu_kernel<T>{}, H_, cdf_, const_activation_view<Be>(Z_));
    const activation_view<Be> P = linear.forward(output(), H_);
    apply_dropout(be, hidden_dropout(pass, output()), P);
    be.apply(add_kernel<T>{}, P, A_);
    return output_norm_.forward(be, norms.output, pass.config.layer_norm_eps, P);
  }

  // d is ∂/∂Y, and becomes ∂/∂X if a layer before this block is trained.
  template <class Linear>
  void backward(Be& be, const bert_block_norms<Be>& norms, const bert_pass<Be>& pass,
                activation_view<Be> d, Linear& linear) {
    const index_t lowest = linear.first_trained();
    output_norm_.backward(be, norms.output, d);
    const activation_view<Be> dH =
        linear.backward(output(), H_, dropped(be, pass, output(), d), lowest < output());
    if (lowest >= output()) {
      return;
    }
    be.apply(gelu_gradient_kernel<T>{}, dH, const_activation_view<Be>(Z_), cdf_);
    const activation_view<Be> dA = linear.backward(intermediate(), A_, dH, lowest < intermediate());
    if (lowest >= intermediate()) {
      return;
    }
    be.apply(add_kernel<T>{}, d, const_activation_view<Be>(dA));

    attention_norm_.backward(be, norms.attention, d);
    const activation_view<Be> dC =
        linear.backward(attention_output(), C_, dropped(be, pass, attention_output(), d),
                        lowest < attention_output());
    if (lowest >= attention_output()) {
      return;
    }
    const bool at_once = together<activation_of<Be>>(linear, query(), 3);
    const attention_wanted wanted{.query = at_once || lowest <= query(),
                                  .key = at_once || lowest <= key(),
                                  .value = lowest <= value()};
    attention_.backward(be, pass.lengths, dC, wanted, attention_dropout(pass), pass.scratch);
    const bool below = lowest < query();
    if (at_once) {
      const activation_view<Be> through = backward_together<activation_of<Be>>(
          linear, query(), 3, X_, pass.scratch.all, below, [](activation_view<Be>) {});
      if (below) {
        be.apply(add_kernel<T>{}, d, const_activation_view<Be>(through));
      }
      return;
    }
    const activation_view<Be> through_value = linear.backward(value(), X_, pass.scratch.dV, below);
    if (!wanted.key) {
      return;
    }
    const activation_view<Be> through_key = linear.backward(key(), X_, pass.scratch.dK, below);
    if (!wanted.query) {
      return;
    }
    const activation_view<Be> through_query = linear.backward(query(), X_, pass.scratch.dQ, below);
    if (below) {
      be.apply(add_three_kernel<T>{}, d, const_activation_view<Be>(through_query),
               const_activation_view<Be>(through_key), const_activation_view<Be>(through_value));
    }
  }

  const_activation_view<Be> output_states() const { return output_norm_.output(); }
  const_activation_view<Be> probabilities(index_t first_token, index_t length, index_t head) const {
    return attention_.probabilities(first_token, length, head);
  }

 private:
  index_t query() const { return first_; }
  index_t key() const { return first_ + 1; }
  index_t value() const { return first_ + 2; }
  index_t attention_output() const { return first_ + 3; }
  index_t intermediate() const { return first_ + 4; }
  index_t output() const { return first_ + 5; }

  dropout_stream attention_dropout(const bert_pass<Be>& pass) const {
    return pass.attention.fork(std::uint64_t(first_));
  }
  static const_activation_view<Be> dropped(Be& be, const bert_pass<Be>& pass, index_t layer,
                                           const_activation_view<Be> d) {
    return with_dropout(be, hidden_dropout(pass, layer), d, pass.dropped);
  }
  // The dropout after that linear layer.
  static dropout_stream hidden_dropout(const bert_pass<Be>& pass, index_t layer) {
    return pass.hidden.fork(std::uint64_t(layer));
  }

  index_t first_;
  attention<Be> attention_;
  layer_norm<Be, activation_of<Be>> attention_norm_;
  layer_norm<Be, activation_of<Be>> output_norm_;
  const_activation_view<Be> X_;
  const_activation_view<Be> C_;
  const_activation_view<Be> A_;
  activation_view<Be> Z_;  // in a buffer of the operator
  activations<Be> H_;
  activations<Be> cdf_;
};

}  // namespace preheat::nn
