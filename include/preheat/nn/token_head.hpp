// The end of a decoder: the last norm, the head and the cross entropy of the next token.
//
//   Z = W·norm(X) over the vocabulary,  loss = −(1/M)·Σ log softmax(z_t)[token t + 1]
//
// over the M tokens of the batch that count (nn/causal_batch.hpp; or its `divisor`). Only the columns from which such a
// token is predicted are computed at all, and these in chunks, each with its loss and its gradient
// before the next one: the logits of a batch never exist whole. Memory: 2·vocab_size·chunk numbers.
//
// W is the layer "lm_head" of the network, or the embedding if the head is tied.
#pragma once
#include <algorithm>
#include <vector>

#include "../core/frozen_weight.hpp"
#include "causal_batch.hpp"
#include "pre_norm.hpp"

namespace preheat::nn {

template <decoder_backend Be>
class token_head {
 public:
  using T = scalar_of<Be>;

  // `layer` is the number of "lm_head" in the network, or the number of its layers if it is tied.
  token_head(const decoder_config& c, index_t layer) : config_(&c), layer_(layer) {}

  index_t chunk = 128;  // columns of logits at a time

  // The logits of all columns of X, vocab_size × columns; valid until the next pass.
  template <class Linear>
  const_view_of<Be> logits(Be& be, const decoder_frozen<Be>& frozen, const_view_of<Be> X,
                           Linear& linear) {
    norm_.forward(be, config_->norm, config_->norm_epsilon, frozen.norm, X, Y_);
    return product(be, frozen, Y_, linear);
  }

  // The loss. With a gradient, also the gradients of the head's adapter, and ∂/∂X if a layer before
  // the head is trained.
  template <class Linear>
  T loss(Be& be, const decoder_frozen<Be>& frozen, const causal_batch<Be>& batch,
         const_view_of<Be> X, Linear& linear, view_of<Be> dX, bool gradient) {
    find_predictions(batch);
    const index_t count = index_t(labels_.size());
    const double divisor = batch.divisor > 0 ? batch.divisor : double(count);
    gather(be, X);
    norm_.forward(be, config_->norm, config_->norm_epsilon, frozen.norm, G_, Y_);
    be.resize(target_, 1, count);
    be.upload(labels_, target_);
    const bool below = gradient && dX.cols() > 0;
    if (below) {
      be.resize(dY_, Y_.rows(), count);
    }
    double sum = 0;
    for (index_t first = 0; first < count; first += chunk) {
      const index_t n = std::min(chunk, count - first);
      const const_view_of<Be> y = const_view_of<Be>(Y_).col_range(first, n);
      say_chunk(linear, first, count);
      const view_of<Be> Z = product(be, frozen, y, linear);
      be.resize(dZ_, Z.rows(), n);
      const T mean =
          be.softmax_cross_entropy(Z, const_view_of<Be>(target_).col_range(first, n), dZ_);
      sum += double(mean) * double(n) / divisor;
      if (gradient && (below || (!tied() && linear.first_trained() <= layer_))) {
        be.apply(linalg::scale<T>{T(n) / T(divisor)}, dZ_);
        product_backward(be, frozen, y, linear, below ? view(dY_).col_range(first, n) : dX);
      }
    }
    if (below) {
      be.resize(dG_, G_.rows(), count);
      be.fill(0, dG_);
      norm_.backward(be, config_->norm, frozen.norm, dY_, dG_);
      be.fill(0, dX);
      for (const run& r : runs_) {
        be.copy(transpose::no, const_view_of<Be>(dG_).col_range(r.place, r.count),
                dX.col_range(r.column, r.count));
      }
    }
    return T(sum);
  }

 private:
  // Consecutive columns of X from which counted tokens are predicted, and their place among those.
  struct run {
    index_t column, place, count;
  };

  bool tied() const { return config_->tied_head; }

  void find_predictions(const causal_batch<Be>& batch) {
    runs_.clear();
    labels_.clear();
    index_t first = 0;
    for (const index_t length : batch.lengths) {
      for (index_t t = first; t + 1 < first + length; ++t) {
        const index_t label = batch.labels[t + 1];
        if (label == not_counted) {
          continue;
        }
        require(0 <= label && label < config_->vocab_size,
                "a label is -100 or 0 <= label < vocab_size", label, config_->vocab_size);
        if (runs_.empty() || runs_.back().column + runs_.back().count != t) {
          runs_.push_back({t, index_t(labels_.size()), 0});
        }
        ++runs_.back().count;
        labels_.push_back(T(label));
      }
      first += length;
    }
    require(
        !labels_.empty(),
        "a batch has at least one label that is not -100 after the first token of its sequence");
  }
  void gather(Be& be, const_view_of<Be> X) {
    be.resize(G_, X.rows(), index_t(labels_.size()));
    for (const run& r : runs_) {
      be.copy(transpose::no, X.col_range(r.column, r.count), view(G_).col_range(r.place, r.count));
    }
  }

  template <class Linear>
  void say_chunk(Linear& linear, index_t first, index_t count) {
    if constexpr (requires { linear.next_chunk(layer_, first, count); }) {
      if (!tied()) {
        linear.next_chunk(layer_, first, count);
      }
    }
  }
  // to = op(E)·x for the embedding E, hidden × vocab_size.
  void tied_product(Be& be, const decoder_frozen<Be>& frozen, transpose t, const_view_of<Be> x,
                    view_of<Be> to) {
    if constexpr (stored_matrix_backend<Be>) {
      if (!frozen.word_rows.empty()) {
        multiply_stored<Be>(be, 1, t == transpose::yes ? transpose::no : transpose::yes,
                            frozen.word_rows, transpose::no, x, 0, to, panel_);
        return;
      }
    }
    be.gemm(1, t, frozen.words, transpose::no, x, 0, to);
  }
  template <class Linear>
  view_of<Be> product(Be& be, const decoder_frozen<Be>& frozen, const_view_of<Be> y,
                      Linear& linear) {
    if (!tied()) {
      return linear.forward(layer_, y);
    }
    be.resize(Z_, config_->vocab_size, y.cols());
    tied_product(be, frozen, transpose::yes, y, Z_);
    return Z_;
  }
  // From dZ; dy is written if it has columns.
  template <class Linear>
  void product_backward(Be& be, const decoder_frozen<Be>& frozen, const_view_of<Be> y,
                        Linear& linear, view_of<Be> dy) {
    if (tied()) {
      tied_product(be, frozen, transpose::no, dZ_, dy);
      return;
    }
    const view_of<Be> through = linear.backward(layer_, y, dZ_, dy.cols() > 0);
    if (dy.cols() > 0) {
      be.copy(transpose::no, through, dy);
    }
  }

  const decoder_config* config_;
  index_t layer_;
  pre_norm<Be> norm_;
  std::vector<run> runs_;
  std::vector<T> labels_;
  mat<Be> target_;
  mat<Be> G_, Y_, Z_, dZ_, dY_, dG_;
  mat<Be> panel_;  // of a stored embedding
};

}  // namespace preheat::nn
