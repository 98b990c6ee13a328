// One block of a decoder, with everything of a pass that backward needs.
//
//   A = X + O·attention(Q, K, V),  [Q; K; V] = W·norm(X) + b, heads normalized if qk_norm, then turned
//   Y = A + mlp(norm(A))
//
// The linear layers (linear_layers_of_block) are computed through the network's linear operator, whose
// buffers hold Q, K, V, A and Y. X is hidden × tokens. Backward stops at the lowest layer that is
// trained: nothing below it is differentiated.
#pragma once
#include <algorithm>
#include <span>
#include <tuple>

#include "causal_attention.hpp"
#include "feed_forward.hpp"
#include "head_norm.hpp"
#include "key_value_cache.hpp"
#include "layers_together.hpp"
#include "normed_input.hpp"
#include "rotary.hpp"

namespace preheat::nn {

// What backward computes again instead of keeping it from forward, for each block and token:
//
//   nothing           all is kept
//   norms_and_gates   the outputs of both norms and of the activation: 2·hidden + intermediate numbers
//                     less, for a pass over them
//   blocks            everything but the block's input, hidden numbers: the forward products a second
//                     time
enum class recompute { nothing, norms_and_gates, blocks };

// Buffers that one block at a time uses.
template <class Be, template <class> class Attention>
struct decoder_scratch {
  typename Attention<Be>::scratch attention;
  typename feed_forward<Be>::scratch mlp;
  activations<Be> dQKV;
  activations<Be> d_heads;
  activations<Be> attention_input, mlp_input;  // of the block at work, if they are not kept
};

// What all blocks share in a pass: settings, the sequences, scratch. `cache` is null but where a text
// goes on.
template <class Be, template <class> class Attention>
struct decoder_pass {
  const decoder_config& config;
  std::span<const attention_span> sequences;
  const rotary<Be>* positions = nullptr;  // null with learned positions
  key_value_cache<Be>* cache = nullptr;
  recompute again = recompute::nothing;
  decoder_scratch<Be, Attention>& scratch;
};

// What a block returns and the next one takes: its output is the sum of both, which the next norm may compute
// (pre_norm::forward_of_sum). A branch without columns is zero.
template <class Be>
struct unfinished_sum {
  activation_view<Be> states;
  const_activation_view<Be> branch{};
};

template <decoder_backend Be, template <class> class Attention>
class decoder_block {
 public:
  using T = scalar_of<Be>;
  using pass_type = decoder_pass<Be, Attention>;
  using activation = activation_of<Be>;

  decoder_block(const decoder_config& c, index_t number)
      : fused_(c.fused_qkv), mlp_(c.gated, c.activation) {
    set_number(c, number);
  }
  // The block's number in the network.
  void set_number(const decoder_config& c, index_t number) {
    number_ = number;
    first_ = number * layers_per_block(c);
    mlp_.set_first_layer(first_ + (fused_ ? 2 : 4));
  }

  // Finishes the sum. The result is valid until the next forward.
  template <class Linear>
  unfinished_sum<Be> forward(Be& be, const decoder_block_norms<Be>& norms, const pass_type& pass,
                             const unfinished_sum<Be>& input, Linear& linear) {
    const decoder_config& c = pass.config;
    const activation_view<Be> X = input.states;
    activations<Be>& attention_input = attention_input_of(pass);
    attention_norm_.leave_room(projection_room(linear));
    if (input.branch.cols() > 0) {
      attention_norm_.forward_of_sum(be, c.norm, c.norm_epsilon, norms.attention, input.branch, X,
                                     attention_input);
    } else {
      attention_norm_.forward(be, c.norm, c.norm_epsilon, norms.attention, X, attention_input);
    }
    project(view(attention_input).row_range(0, X.rows()), linear, c);
    if (c.qk_norm) {
      Q_ = query_norm_.forward(be, c.norm_epsilon, norms.query, Q_);
      K_ = key_norm_.forward(be, c.norm_epsilon, norms.key, K_);
    }
    if (pass.positions != nullptr) {
      if (lies_below(Q_, K_)) {
        pass.positions->forward(be, both(Q_, K_), pass.sequences);
      } else {
        pass.positions->forward(be, Q_, pass.sequences);
        pass.positions->forward(be, K_, pass.sequences);
      }
    }
    const_activation_view<Be> keys = K_;
    const_activation_view<Be> values = V_;
    if (pass.cache != nullptr) {
      std::tie(keys, values) = pass.cache->append(be, number_, K_, V_);
    }
    const index_t room = border<activation>(linear, output_layer(), 1);
    be.resize(C_, Q_.rows() + room, Q_.cols());
    const activation_view<Be> C = view(C_).row_range(0, Q_.rows());
    attention_.forward(be, shape(c), pass.sequences, Q_, keys, values, C, pass.scratch.attention);
    A_ = forward_together<activation>(linear, output_layer(), 1, C, room);
    activations<Be>& mlp_input = mlp_input_of(pass);
    mlp_norm_.leave_room(mlp_.input_room(linear));
    mlp_norm_.forward_of_sum(be, c.norm, c.norm_epsilon, norms.mlp, X, A_, mlp_input);
    Y_ = mlp_.forward(be, view(mlp_input).row_range(0, X.rows()), linear, gates_of(pass));
    return {Y_, A_};
  }

  // The room that its layers can use below d of backward.
  template <class Linear>
  index_t gradient_room(Linear& linear) const {
    return std::max(mlp_.output_room(linear), border<activation>(linear, output_layer(), 1));
  }
  // d is ∂/∂Y, with `room` below, and becomes ∂/∂X if a layer before this block is trained.
  template <class Linear>
  void backward(Be& be, const decoder_block_norms<Be>& norms, const pass_type& pass,
                activation_view<Be> d, index_t room, Linear& linear) {
    const index_t lowest = linear.first_trained();
    const bool again = makes_norms_again(pass);
    normed_input<Be> mlp_input(be, pass.config, again, norms.mlp, mlp_norm_, mlp_input_of(pass), d);
    const activation_view<Be> through_mlp = mlp_.backward(
        be, mlp_input.view_of_it(), d, linear, pass.scratch.mlp, room, gates_of(pass), mlp_input);
    if (lowest >= mlp_.first_layer()) {
      return;
    }
    mlp_input.finish(through_mlp);
    const activation_view<Be> dC = backward_together<activation>(
        linear, output_layer(), 1, view(C_).row_range(0, Q_.rows()), d, lowest < output_layer(),
        [](activation_view<Be>) {}, room);
    if (lowest >= output_layer()) {
      return;
    }
    normed_input<Be> attention_input(be, pass.config, again, norms.attention, attention_norm_,
                                     attention_input_of(pass), d);
    const activation_view<Be> through_attention =
        attention_backward(be, norms, pass, dC, linear, attention_input);
    if (lowest < first_) {
      attention_input.finish(through_attention);
    }
  }

  const_activation_view<Be> output_states() const { return Y_; }

 private:
  index_t output_layer() const { return first_ + (fused_ ? 1 : 3); }
  attention_shape shape(const decoder_config& c) const {
    return {c.heads, c.key_value_heads, c.window_of(number_)};
  }
  static bool makes_norms_again(const pass_type& pass) {
    return pass.again == recompute::norms_and_gates;
  }
  activations<Be>& attention_input_of(const pass_type& pass) {
    return makes_norms_again(pass) ? pass.scratch.attention_input : attention_input_;
  }
  activations<Be>& mlp_input_of(const pass_type& pass) {
    return makes_norms_again(pass) ? pass.scratch.mlp_input : mlp_input_;
  }
  static activations<Be>* gates_of(const pass_type& pass) {
    return makes_norms_again(pass) ? &pass.scratch.mlp.H : nullptr;
  }
  // How many layers q, k and v are that are computed at once: one layer, or three together.
  index_t projections() const { return fused_ ? 1 : 3; }
  template <class Linear>
  index_t projection_room(Linear& linear) const {
    return border<activation>(linear, first_, projections());
  }
  // All rows of K, which lies below Q, and Q.
  static activation_view<Be> both(activation_view<Be> Q, activation_view<Be> K) {
    return {Q.data(), Q.rows() + K.rows(), Q.cols(), Q.ld()};
  }
  template <class Linear>
  void project(const_activation_view<Be> X, Linear& linear, const decoder_config& c) {
    if (fused_ || together<activation>(linear, first_, 3)) {
      const activation_view<Be> all =
          forward_together<activation>(linear, first_, projections(), X, projection_room(linear));
      Q_ = all.row_range(0, c.query_rows());
      K_ = all.row_range(c.query_rows(), c.key_rows());
      V_ = all.row_range(c.query_rows() + c.key_rows(), c.key_rows());
    } else {
      Q_ = linear.forward(first_, X);
      K_ = linear.forward(first_ + 1, X);
      V_ = linear.forward(first_ + 2, X);
    }
  }

  // From dC = ∂/∂C to the gradient of the attention's input, empty unless a lower block is trained.
  template <class Linear>
  activation_view<Be> attention_backward(Be& be, const decoder_block_norms<Be>& norms,
                                         const pass_type& pass, const_activation_view<Be> dC,
                                         Linear& linear, normed_input<Be>& input) {
    const decoder_config& c = pass.config;
    const index_t lowest = linear.first_trained();
    const bool at_once = fused_ || together<activation>(linear, first_, 3);
    const wanted_gradients wanted{.query = at_once || lowest <= first_,
                                  .key = at_once || lowest <= first_ + 1,
                                  .value = true};
    const index_t rows = c.query_rows() + 2 * c.key_rows();
    be.resize(pass.scratch.dQKV, rows + projection_room(linear), dC.cols());
    const activation_view<Be> all = view(pass.scratch.dQKV).row_range(0, rows);
    const activation_view<Be> dQ = all.row_range(0, c.query_rows());
    const activation_view<Be> dK = all.row_range(c.query_rows(), c.key_rows());
    const activation_view<Be> dV = all.row_range(c.query_rows() + c.key_rows(), c.key_rows());
    attention_.backward(be, shape(c), pass.sequences, dC, wanted, dQ, dK, dV,
                        pass.scratch.attention);
    if (wanted.query && wanted.key) {
      turn_back(be, pass, both(dQ, dK));
    } else if (wanted.key) {
      turn_back(be, pass, dK);
    }
    if (c.qk_norm && wanted.query) {
      query_norm_.backward(be, norms.query, dQ, pass.scratch.d_heads);
    }
    if (c.qk_norm && wanted.key) {
      key_norm_.backward(be, norms.key, dK, pass.scratch.d_heads);
    }
    const const_activation_view<Be> X = input.view_of_it();
    const bool below = lowest < first_;
    if (at_once) {
      return backward_together<activation>(linear, first_, projections(), X, all, below, input,
                                           projection_room(linear));
    }
    input(activation_view<Be>());
    const activation_view<Be> through_value = linear.backward(first_ + 2, X, dV, below);
    if (!wanted.key) {
      return {};
    }
    const activation_view<Be> through_key = linear.backward(first_ + 1, X, dK, below);
    if (!wanted.query) {
      return {};
    }
    const activation_view<Be> through_query = linear.backward(first_, X, dQ, below);
    if (below) {
      be.apply(add_two_kernel<T>{}, through_query, const_activation_view<Be>(through_key),
               const_activation_view<Be>(through_value));
    }
    return through_query;
  }
  static void turn_back(Be& be, const pass_type& pass, activation_view<Be> d) {
    if (pass.positions != nullptr) {
      pass.positions->backward(be, d, pass.sequences);
    }
  }

  index_t number_ = 0;
  index_t first_ = 0;  // the number of the block's first linear layer
  bool fused_;
  pre_norm<Be> attention_norm_;
  pre_norm<Be> mlp_norm_;
  head_norm<Be> query_norm_;
  head_norm<Be> key_norm_;
  Attention<Be> attention_;
  feed_forward<Be> mlp_;
  activations<Be> attention_input_;
  activations<Be> C_;
  activations<Be> mlp_input_;
  activation_view<Be> Q_, K_, V_;  // in buffers of the operator, or of the norms
  activation_view<Be> A_, Y_;      // in buffers of the operator
};

}  // namespace preheat::nn
