// The network that all methods train: a decoder, or an encoder with a layer for classes, which sees one type
// of operator (studies/common/any_linear.hpp). So every method is compiled once for both.
#pragma once
#include <algorithm>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include <preheat/core/head.hpp>
#include <preheat/nn/bert.hpp>
#include <preheat/nn/decoder.hpp>
#include <preheat/nn/key_value_cache.hpp>

#include "backend.hpp"
#include "studies/common/any_linear.hpp"
#include "studies/common/text_lengths.hpp"

namespace apps::finetune {

using preheat::index_t;
using any_linear = studies::common::any_linear<Be>;

// The tokens of a text that are predicted and count: all labels but the first token's.
inline index_t counted_in(std::span<const index_t> labels) {
  return labels.empty()
             ? 0
             : index_t(labels.size()) - 1 -
                   std::count(labels.begin() + 1, labels.end(), preheat::nn::not_counted);
}

// Texts with a label for every token, which a decoder predicts, or with a class each, which an encoder does.
struct text_batch : preheat::nn::causal_batch<Be> {
  std::vector<index_t> classes{};
};

// On a GPU texts of a decoder have few different lengths (studies/common/text_lengths.hpp), within so many positions:
// multiples of this one.
inline constexpr index_t length_on_gpu = 16;
inline void round_lengths(text_batch& batch, index_t positions) {
  studies::common::round_lengths(batch, length_on_gpu, positions);
}

class network {
 public:
  using backend_type = Be;
  using batch_type = text_batch;
  using decoder = preheat::nn::decoder<Be>;
  using encoder = preheat::nn::bert<Be, preheat::nn::cls_head>;

  explicit network(decoder model) : model_(std::move(model)) {}
  explicit network(encoder model) : model_(std::move(model)) {}

  // Embedding and norms are shared, linear layers and the head copied.
  network copy() const;

  bool classifies() const { return std::holds_alternative<encoder>(model_); }
  // Of a network that is one. Errors: std::bad_variant_access.
  decoder& as_decoder() { return std::get<decoder>(model_); }
  const decoder& as_decoder() const { return std::get<decoder>(model_); }
  encoder& as_encoder() { return std::get<encoder>(model_); }
  const encoder& as_encoder() const { return std::get<encoder>(model_); }

  Be& backend() const;
  std::span<preheat::base_layer<Be>> layers();
  index_t vocab_size() const;
  index_t most_tokens() const;  // of a text
  // The layer for the classes. A decoder's has no numbers, so that nothing of it is trained.
  preheat::trained_head<Be>& head();

  // The mean over the tokens that count, or over the texts, some texts at a time: a batch may be a whole file.
  template <class Linear>
  float loss(const batch_type& batch, Linear& linear) {
    any_linear any(linear);
    return float(mean_loss(batch, any));
  }
  template <class Linear>
  float loss_and_gradient(const batch_type& batch, Linear& linear) {
    any_linear any(linear);
    return gradient_pass(batch, any);
  }
  // For nn::generate.
  template <class Linear>
  preheat::const_view_of<Be> next_logits(std::span<const index_t> ids,
                                         preheat::nn::key_value_cache<Be>& cache, Linear& linear) {
    any_linear any(linear);
    return logits_pass(ids, cache, any);
  }
  const preheat::nn::decoder_config& config() const { return as_decoder().config(); }

  static constexpr index_t most_evaluated_tokens = 1024;  // at a time
  double mean_loss(const batch_type& batch, any_linear& linear);
  // The share of texts whose class is the most probable one, by an encoder.
  double accuracy(const batch_type& batch, any_linear& linear);

 private:
  float gradient_pass(const batch_type& batch, any_linear& linear);
  preheat::const_view_of<Be> logits_pass(std::span<const index_t> ids,
                                         preheat::nn::key_value_cache<Be>& cache,
                                         any_linear& linear);

  std::variant<decoder, encoder> model_;
  preheat::trained_head<Be> no_head_{};
};

}  // namespace apps::finetune
