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

  // Columns of logits at a time: those of a device fill it.
  index_t chunk = sums_losses<Be> ? 2048 : 128;

  // The logits of all columns of X, vocab_size × columns; valid until the next pass.
  template <class Linear>
  const_view_of<Be> logits(Be& be, const decoder_frozen<Be>& frozen, const_activation_view<Be> X,
                           Linear& linear) {
    norm_.forward(be, config_->norm, config_->norm_epsilon, frozen.norm, X, Y_);
    return converted<T>(be, const_activation_view<Be>(product(be, frozen, Y_, linear)), wide_);
  }

  // Computes the loss, which total() returns. With a gradient, also the gradients of the head's adapter, and ∂/∂X if a
  // layer before the head is trained.
  template <class Linear>
  void loss(Be& be, const decoder_frozen<Be>& frozen, const causal_batch<Be>& batch,
            const_activation_view<Be> X, Linear& linear, activation_view<Be> dX, bool gradient) {
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
    start_total(be);
    for (index_t first = 0; first < count; first += chunk) {
      const index_t n = std::min(chunk, count - first);
      const const_activation_view<Be> y = const_activation_view<Be>(Y_).col_range(first, n);
      say_chunk(linear, first, count);
      const activation_view<Be> Z = product(be, frozen, y, linear);
      const const_view_of<Be> labels = const_view_of<Be>(target_).col_range(first, n);
      const bool wanted = gradient && (below || (!tied() && linear.first_trained() <= layer_));
      const activation_view<Be> dy = below ? view(dY_).col_range(first, n) : dX;
      if constexpr (sums_losses<Be>) {
        be.add_softmax_cross_entropy(T(1) / T(divisor), Z, labels, total_);
        if (wanted) {
          product_backward(be, frozen, y, Z, linear, dy);
        }
      } else {
        be.resize(dZ_, Z.rows(), n);
        sum_ += double(be.softmax_cross_entropy(Z, labels, dZ_)) * double(n) / divisor;
        if (wanted) {
          be.apply(linalg::scale<T>{T(n) / T(divisor)}, dZ_);
          product_backward(be, frozen, y, dZ_, linear, dy);
        }
      }
    }
    if constexpr (sums_losses<Be>) {
      be.send(total_, sent_);
    }
    if (below) {
      be.resize(dG_, G_.rows(), count + 1);
      be.fill(0, dG_);
      norm_.backward(be, config_->norm, frozen.norm, dY_, view(dG_).col_range(0, count));
      scatter(be, dX);
    }
  }
  // The loss of the last pass, once. The host waits for a device here, until the loss is there: a network asks when it
  // has asked for everything else.
  T total(Be& be) {
    if constexpr (sums_losses<Be>) {
      return be.receive(sent_);
    } else {
      return T(sum_);
    }
  }

 private:
  // Consecutive columns of X from which counted tokens are predicted, and their place among those.
  struct run {
    index_t column, place, count;
  };

  bool tied() const { return config_->tied_head; }

  // The loss so far: on the device, where that can add to it, so that the host waits for it once.
  void start_total([[maybe_unused]] Be& be) {
    sum_ = 0;
    if constexpr (sums_losses<Be>) {
      be.resize(total_, 1, 1);
      be.fill(0, total_);
    }
  }

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
  void gather(Be& be, const_activation_view<Be> X) {
    be.resize(G_, X.rows(), index_t(labels_.size()));
    if constexpr (gathers_columns<Be>) {
      columns_.clear();
      for (const run& r : runs_) {
        for (index_t j = 0; j < r.count; ++j) {
          columns_.push_back(r.column + j);
        }
      }
      be.gather_cols(X, columns_, G_);
    } else {
      for (const run& r : runs_) {
        be.copy(transpose::no, X.col_range(r.column, r.count),
                view(G_).col_range(r.place, r.count));
      }
    }
  }
  // The columns of dG_, whose last one is zero, to where those of G_ were taken from; zero elsewhere.
  void scatter(Be& be, activation_view<Be> dX) {
    if constexpr (gathers_columns<Be>) {
      columns_.assign(std::size_t(dX.cols()), index_t(labels_.size()));
      for (const run& r : runs_) {
        for (index_t j = 0; j < r.count; ++j) {
          columns_[std::size_t(r.column + j)] = r.place + j;
        }
      }
      be.gather_cols(dG_, columns_, dX);
    } else {
      be.fill(0, dX);
      for (const run& r : runs_) {
        be.copy(transpose::no, const_activation_view<Be>(dG_).col_range(r.place, r.count),
                dX.col_range(r.column, r.count));
      }
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
  void tied_product(Be& be, const decoder_frozen<Be>& frozen, transpose t,
                    const_activation_view<Be> x, activation_view<Be> to) {
    if constexpr (stored_matrix_backend<Be>) {
      if (!frozen.word_rows.empty()) {
        multiply_stored<Be>(be, 1, t == transpose::yes ? transpose::no : transpose::yes,
                            frozen.word_rows, transpose::no, x, 0, to, panel_);
        return;
      }
    }
    be.gemm(1, t, words_of(frozen), transpose::no, x, 0, to);
  }
  template <class Linear>
  activation_view<Be> product(Be& be, const decoder_frozen<Be>& frozen, const_activation_view<Be> y,
                              Linear& linear) {
    if (!tied()) {
      return linear.forward(layer_, y);
    }
    be.resize(Z_, config_->vocab_size, y.cols());
    tied_product(be, frozen, transpose::yes, y, Z_);
    return Z_;
  }
  // From dZ, which may be where Z was; dy is written if it has columns.
  template <class Linear>
  void product_backward(Be& be, const decoder_frozen<Be>& frozen, const_activation_view<Be> y,
                        const_activation_view<Be> dZ, Linear& linear, activation_view<Be> dy) {
    if (tied()) {
      tied_product(be, frozen, transpose::no, dZ, dy);
      return;
    }
    const activation_view<Be> through = linear.backward(layer_, y, dZ, dy.cols() > 0);
    if (dy.cols() > 0) {
      be.copy(transpose::no, through, dy);
    }
  }

  const decoder_config* config_;
  index_t layer_;
  pre_norm<Be> norm_;
  std::vector<run> runs_;
  std::vector<T> labels_;
  std::vector<index_t> columns_;  // for one call that takes them all
  mat<Be> target_;
  activations<Be> G_, Y_, Z_, dZ_, dY_, dG_;
  mat<Be> total_;  // 1×1
  typename detail::sent_loss<Be>::type sent_{};
  double sum_ = 0;  // where the backend does not sum losses
  mat<Be> panel_;   // of a stored embedding
  mat<Be> wide_;    // logits, if activations are of another type
};

}  // namespace preheat::nn
