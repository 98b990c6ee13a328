// The network that all methods train: a decoder that sees one type of operator (any_linear.hpp).
#pragma once
#include <algorithm>
#include <span>
#include <utility>

#include <preheat/nn/decoder.hpp>
#include <preheat/nn/key_value_cache.hpp>

#include "any_linear.hpp"

namespace apps::finetune {

// The tokens of a text that are predicted and count: all labels but the first token's.
inline index_t counted_in(std::span<const index_t> labels) {
  return labels.empty()
             ? 0
             : index_t(labels.size()) - 1 -
                   std::count(labels.begin() + 1, labels.end(), preheat::nn::not_counted);
}

class network {
 public:
  using backend_type = Be;
  using batch_type = preheat::nn::causal_batch<Be>;
  using decoder = preheat::nn::decoder<Be>;

  explicit network(decoder model) : decoder_(std::move(model)) {}

  // Embedding and norms are shared, linear layers copied.
  network copy() const { return network(decoder_.copy()); }

  Be& backend() const { return decoder_.backend(); }
  std::span<preheat::base_layer<Be>> layers() { return decoder_.layers(); }
  const preheat::nn::decoder_config& config() const { return decoder_.config(); }
  decoder& model() { return decoder_; }

  // The mean over the tokens that count, some texts at a time: a batch may be a whole file.
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

  static constexpr index_t most_evaluated_tokens = 1024;  // at a time
  double mean_loss(const batch_type& batch, any_linear& linear);

 private:
  float gradient_pass(const batch_type& batch, any_linear& linear);
  preheat::const_view_of<Be> logits_pass(std::span<const index_t> ids,
                                         preheat::nn::key_value_cache<Be>& cache,
                                         any_linear& linear);

  decoder decoder_;
};

}  // namespace apps::finetune
