// A BERT encoder (Devlin et al., arXiv 1810.04805) with a trained linear head, as a network whose
// linear layers are all adaptable, with Hugging Face's names:
// "encoder.layer.0.attention.self.query" to "encoder.layer.N.output.dense", and "pooler.dense" if
// the head uses it.
//
//   X₀ = D(layer_norm(word + position + type)),  X_{i+1} = block_i(X_i)   (nn/bert_block.hpp)
//   p = D(pooling of X_last),  Z = W·p + b,  loss(Z, target)              (nn/bert_heads.hpp)
//
// W and b are the head: they are trained beside the adapters, in the same way for every method, and
// counted apart (concept trains_head). Embeddings and layer norms are frozen and shared by copies.
// The blocks compute with activations<Be>, which a backend may round. Tokens are stored without padding (nn/token_batch.hpp). Nothing below the lowest trained layer is
// differentiated.
//
//   auto weights = huggingface::read_bert(be, "all-MiniLM-L6-v2");
//   auto head = nn::random_head(be, 2, weights.config.hidden_size, generator(1));
//   nn::bert<Be, nn::mean_pool_head> net(be, std::move(weights), std::move(head));
//   fit(hrp<>{}, net, batches, {.rank = 8, .targets = {"query", "value"}});
//
// Errors: invalid_argument. A step allocates nothing once its shapes have been seen.
#pragma once
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "../linalg/elementwise.hpp"
#include "../linalg/random_matrix.hpp"
#include "bert_block.hpp"
#include "bert_heads.hpp"
#include "late_loss.hpp"
#include "rounding_linear.hpp"

namespace preheat::nn {

// W and b ~ U(±1/√features), as torch.nn.Linear.
template <backend Be>
head_params<Be> random_head(Be& be, index_t outputs, index_t features, const generator& gen) {
  require(outputs >= 1, "outputs of a head >= 1", outputs, 1);
  const double bound = 1 / std::sqrt(double(features));
  return {linalg::uniform(be, outputs, features, bound, gen.fork(purpose::base, 0)),
          linalg::uniform(be, outputs, 1, bound, gen.fork(purpose::base, 1))};
}

// Rates of dropout in training passes.
struct bert_dropout {
  double hidden = 0;     // after the embeddings, after both outputs of a block, before the head
  double attention = 0;  // of the attention probabilities
};

template <encoder_backend Be, class Head = mean_pool_head, class Loss = cross_entropy>
class bert {
 public:
  using backend_type = Be;
  using T = scalar_of<Be>;
  using batch_type = token_batch<Be>;

  bert(Be& be, bert_weights<Be> weights, head_params<Be> head, Head pooling = {})
      : be_(&be), pooling_(pooling), config_(weights.config) {
    nn::require_valid(be, weights);
    require(head.W.rows() >= 1, "outputs of a head >= 1", head.W.rows(), 1);
    require(head.W.cols() == config_.hidden_size, "columns of the head's W = hidden_size",
            head.W.cols(), config_.hidden_size);
    require(head.b.rows() == head.W.rows() && head.b.cols() == 1,
            "the head's b has one entry per row of W", head.b.rows(), head.W.rows());
    layers_ = std::move(weights.layers);
    if constexpr (Head::uses_pooler) {
      require(weights.pooler.has_value(), "this head needs pooler.dense, which the weights lack");
      layers_.push_back(std::move(*weights.pooler));
    }
    frozen_ = std::make_shared<const bert_frozen<Be>>(std::move(weights.frozen));
    set_head(std::move(head));
    make_blocks();
  }
  bert(bert&&) = default;

  // An independent copy of the linear layers and the head; embeddings and layer norms are shared.
  bert copy() const {
    bert other(*be_, pooling_, config_, frozen_, dropout_);
    for (const base_layer<Be>& l : layers_) {
      other.layers_.push_back({l.name, clone(*be_, l.W), clone(*be_, l.b)});
    }
    other.set_head(clone_params(*be_, head_.parameters));
    return other;
  }

  Be& backend() const { return *be_; }
  const bert_config& config() const { return config_; }
  std::span<base_layer<Be>> layers() { return layers_; }
  trained_head<Be>& head() { return head_; }

  // Sets the dropout of training passes; every batch then needs a stream of its own.
  void set_dropout(const bert_dropout& rates) {
    require(0 <= rates.hidden && rates.hidden < 1, "0 <= hidden dropout < 1", rates.hidden, 1.0);
    require(0 <= rates.attention && rates.attention < 1, "0 <= attention dropout < 1",
            rates.attention, 1.0);
    dropout_ = rates;
  }

  // The head's output, outputs × sequences, computed through any linear operator; valid until the
  // next pass.
  template <class Linear>
  const_view_of<Be> forward(const batch_type& batch, Linear& linear) {
    linear.begin(pass_kind::evaluation);
    return run_forward(batch, linear, pass_of(batch, false));
  }
  // The mean over the tokens of each sequence, scaled to length one: hidden × sequences; valid
  // until the next call.
  template <class Linear>
  const_view_of<Be> embed(const batch_type& batch, Linear& linear) {
    linear.begin(pass_kind::evaluation);
    const const_view_of<Be> X = run_blocks(batch, linear, pass_of(batch, false));
    mean_of_tokens(*be_, X, batch.lengths, embedding_);
    unit_.forward(*be_, embedding_);
    return embedding_;
  }
  template <class Linear>
  T loss(const batch_type& batch, Linear& linear) {
    linear.begin(pass_kind::evaluation);
    evaluate(batch, linear, pass_of(batch, false));
    return value_of_loss(batch);
  }
  // The loss; adds to head().gradient.
  template <class Linear>
  T loss_and_gradient(const batch_type& batch, Linear& linear) {
    linear.begin(pass_kind::training);
    auto&& of_blocks = with_activations<Be>(*be_, linear, rounding_);
    const bert_pass<Be> pass = pass_of(batch, true);
    evaluate(batch, linear, pass);
    be_->gemm(1, transpose::no, dZ_, transpose::yes, features_, 1, head_.gradient.W);
    be_->add_row_sums(1, dZ_, head_.gradient.b);

    const index_t lowest = linear.first_trained();
    if (lowest >= index_t(layers_.size())) {
      return value_of_loss(batch);
    }
    be_->resize(d_features_, features_.rows(), features_.cols());
    be_->gemm(1, transpose::yes, head_.parameters.W, transpose::no, dZ_, 0, d_features_);
    apply_dropout(*be_, head_dropout(pass), view(d_features_));
    const bool in_blocks = lowest < block_layers();
    if (in_blocks) {
      be_->resize(dX_, config_.hidden_size, batch.tokens());
    }
    pool_.backward(*be_, pooling_, d_features_, batch.lengths, block_layers(), linear, in_blocks,
                   dX_);
    if (in_blocks) {
      (void)converted<activation_of<Be>>(*be_, const_view_of<Be>(dX_), rounded_dX_);
    }
    for (std::size_t i = blocks_.size(); i-- > 0 && lowest < first_layer_after(i);) {
      blocks_[i].backward(*be_, frozen_->blocks[i], pass, gradient_of_blocks(), of_blocks);
    }
    return value_of_loss(batch);
  }

  // Of the last pass, for tests: the output of the embeddings and of every block, hidden × tokens.
  std::vector<const_activation_view<Be>> hidden_states() const {
    std::vector<const_activation_view<Be>> states{first_};
    for (const bert_block<Be>& block : blocks_) {
      states.push_back(block.output_states());
    }
    return states;
  }
  // Attention probabilities of one head, keys × queries, for the sequence of `length` tokens that
  // starts at `first_token`.
  const_activation_view<Be> attention(index_t block, index_t first_token, index_t length,
                                      index_t head) const {
    return blocks_[block].probabilities(first_token, length, head);
  }
  // The input of the head, hidden × sequences.
  const_view_of<Be> pooled() const { return features_; }

 private:
  bert(Be& be, Head pooling, const bert_config& config,
       std::shared_ptr<const bert_frozen<Be>> frozen, const bert_dropout& dropout)
      : be_(&be),
        pooling_(pooling),
        config_(config),
        frozen_(std::move(frozen)),
        dropout_(dropout) {
    make_blocks();
  }
  void make_blocks() {
    for (index_t i = 0; i < config_.num_hidden_layers; ++i) {
      blocks_.emplace_back(i * linear_layers_per_block);
    }
  }
  void set_head(head_params<Be> head) {
    head_.gradient = zeros_like(*be_, head);
    head_.parameters = std::move(head);
  }
  index_t block_layers() const { return config_.num_hidden_layers * linear_layers_per_block; }
  static index_t first_layer_after(std::size_t block) {
    return (index_t(block) + 1) * linear_layers_per_block;
  }

  bert_pass<Be> pass_of(const batch_type& batch, bool training) {
    require_consistent(batch);
    bert_pass<Be> pass{config_, batch.lengths, {}, {}, scratch_, dropped_};
    if (training && (dropout_.hidden > 0 || dropout_.attention > 0)) {
      require(batch.stream.has_value(), "dropout needs a stream in every batch");
      pass.hidden = {dropout_.hidden, batch.stream->fork(purpose::dropout, 0)};
      pass.attention = {dropout_.attention, batch.stream->fork(purpose::dropout, 1)};
    }
    return pass;
  }
  dropout_stream embedding_dropout(const bert_pass<Be>& pass) const {
    return pass.hidden.fork(layers_.size());
  }
  dropout_stream head_dropout(const bert_pass<Be>& pass) const {
    return pass.hidden.fork(layers_.size() + 1);
  }

  // Between the blocks there are activations; embeddings, pooling and head are of scalars.
  template <class Linear>
  const_view_of<Be> run_blocks(const batch_type& batch, Linear& given, const bert_pass<Be>& pass) {
    auto&& linear = with_activations<Be>(*be_, given, rounding_);
    embed_tokens(*be_, frozen_->embeddings, batch, embedded_);
    const const_view_of<Be> E =
        embedded_norm_.forward(*be_, frozen_->norm, config_.layer_norm_eps, embedded_);
    first_ = converted<activation_of<Be>>(
        *be_, with_dropout(*be_, embedding_dropout(pass), E, input_), rounded_input_);
    const_activation_view<Be> X = first_;
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      X = blocks_[i].forward(*be_, frozen_->blocks[i], pass, X, linear);
    }
    return converted<T>(*be_, X, last_);
  }
  activation_view<Be> gradient_of_blocks() {
    if constexpr (rounds_activations<Be>) {
      return rounded_dX_;
    } else {
      return dX_;
    }
  }
  template <class Linear>
  view_of<Be> run_forward(const batch_type& batch, Linear& linear, const bert_pass<Be>& pass) {
    const const_view_of<Be> X = run_blocks(batch, linear, pass);
    const const_view_of<Be> pooled =
        pool_.forward(*be_, pooling_, X, batch.lengths, block_layers(), linear);
    features_ = with_dropout(*be_, head_dropout(pass), pooled, dropped_features_);
    be_->resize(Z_, head_.parameters.W.rows(), pooled.cols());
    be_->gemm(1, transpose::no, head_.parameters.W, transpose::no, features_, 0, Z_);
    be_->add_to_cols(head_.parameters.b, Z_);
    return Z_;
  }
  template <class Linear>
  void evaluate(const batch_type& batch, Linear& linear, const bert_pass<Be>& pass) {
    const view_of<Be> Z = run_forward(batch, linear, pass);
    be_->resize(dZ_, Z.rows(), Z.cols());
    loss_.evaluate(*be_, Z, batch.target, dZ_);
    if (batch.divisor != 0) {
      be_->apply(linalg::scale<T>{share_of(batch)}, dZ_);
    }
  }
  T value_of_loss(const batch_type& batch) {
    const T value = loss_.value(*be_);
    return batch.divisor == 0 ? value : share_of(batch) * value;
  }
  // Of the whole batch, if this is a part of one.
  static T share_of(const batch_type& batch) {
    return T(double(batch.sequences()) / batch.divisor);
  }

  Be* be_;
  Head pooling_;
  bert_config config_;
  std::shared_ptr<const bert_frozen<Be>> frozen_;
  std::vector<base_layer<Be>> layers_;
  trained_head<Be> head_;
  bert_dropout dropout_{};

  std::vector<bert_block<Be>> blocks_;
  typename Head::template state<Be> pool_;
  layer_norm<Be> embedded_norm_;
  unit_columns<Be> unit_;
  attention_scratch<Be> scratch_;
  rounding_buffers<Be> rounding_;
  const_activation_view<Be> first_;  // states
  activations<Be> rounded_input_, rounded_dX_, dropped_;
  const_view_of<Be> features_;
  mat<Be> embedded_, input_, last_, dropped_features_, embedding_;
  mat<Be> Z_, dZ_, d_features_, dX_;
  late_loss<Be, Loss> loss_;
};

}  // namespace preheat::nn
