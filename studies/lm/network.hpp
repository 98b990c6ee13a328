// The language model as methods see it: its decoder, through one type of operator (studies/common/any_linear.hpp),
// so that its passes are compiled once for all methods, in network.cpp.
#pragma once
#include <span>
#include <utility>
#include <vector>

#include <preheat/nn/decoder.hpp>
#include <preheat/nn/generate.hpp>

#include "backend.hpp"
#include "examples.hpp"
#include "studies/common/any_linear.hpp"
#include "studies/common/outcome.hpp"

namespace studies::lm {

using any_linear = common::any_linear<backend>;
using batch = preheat::nn::causal_batch<backend>;

class network {
 public:
  using backend_type = lm::backend;
  using batch_type = batch;
  using decoder = preheat::nn::decoder<lm::backend>;

  explicit network(decoder model) : model_(std::move(model)) {}

  // Embedding and norms are shared, linear layers copied.
  network copy() const;

  backend_type& backend() const { return model_.backend(); }
  std::span<preheat::base_layer<backend_type>> layers() { return model_.layers(); }
  const preheat::nn::decoder_config& config() const { return model_.config(); }

  template <class Linear>
  float loss(const batch_type& texts, Linear& linear) {
    any_linear any(linear);
    return loss_of(texts, any);
  }
  template <class Linear>
  float loss_and_gradient(const batch_type& texts, Linear& linear) {
    any_linear any(linear);
    return gradient_pass(texts, any);
  }

  // Means over the tokens that count: −log of their probabilities, and the share that is the most probable one.
  // Some texts at a time, because their logits exist whole.
  template <class Linear>
  common::score evaluate(std::span<const example> examples, Linear& linear) {
    any_linear any(linear);
    return score_of(examples, any);
  }
  // What the model writes after the prompt, the most probable token each time.
  template <class Linear>
  std::vector<index_t> write(std::span<const index_t> prompt, Linear& linear,
                             const preheat::nn::generate_options& o) {
    any_linear any(linear);
    return answer(prompt, any, o);
  }

 private:
  float loss_of(const batch_type& texts, any_linear& linear);
  float gradient_pass(const batch_type& texts, any_linear& linear);
  common::score score_of(std::span<const example> examples, any_linear& linear);
  std::vector<index_t> answer(std::span<const index_t> prompt, any_linear& linear,
                              const preheat::nn::generate_options& o);

  decoder model_;
};

}  // namespace studies::lm
