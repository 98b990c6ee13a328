// A network that a user might write, the smallest that can share weights: it applies its linear
// layers in a given order, a layer as often as it is named, and its loss is ⟨C, Y⟩, so that the
// loss is a polynomial of low degree in every weight and central differences are exact.
#pragma once
#include <preheat/core/concepts.hpp>
#include <span>
#include <utility>
#include <vector>

#include "table.hpp"

namespace conformance {

template <preheat::backend Be>
class linear_network {
 public:
  using backend_type = Be;
  struct batch_type {
    preheat::mat<Be> X;
    preheat::mat<Be> C;
  };

  linear_network(Be& be, std::vector<preheat::base_layer<Be>> layers, std::vector<index_t> order)
      : be_(&be), layers_(std::move(layers)), order_(std::move(order)) {}

  Be& backend() const { return *be_; }
  std::span<preheat::base_layer<Be>> layers() { return layers_; }

  template <class Linear>
  typename Be::scalar loss(const batch_type& batch, Linear& linear) {
    return evaluate(batch, linear, preheat::pass_kind::evaluation);
  }
  template <class Linear>
  typename Be::scalar loss_and_gradient(const batch_type& batch, Linear& linear) {
    const auto value = evaluate(batch, linear, preheat::pass_kind::training);
    preheat::const_view_of<Be> d = batch.C;
    for (std::size_t k = order_.size(); k-- > 0;) {
      d = linear.backward(order_[k], inputs_[k], d, true);
    }
    input_gradient = read<Be>(*be_, d);
    return value;
  }
  // The loss as a training pass sees it, dropout included.
  template <class Linear>
  typename Be::scalar training_loss(const batch_type& batch, Linear& linear) {
    return evaluate(batch, linear, preheat::pass_kind::training);
  }

  table input_gradient;  // of the last loss_and_gradient
  table output;          // of the last pass

 private:
  template <class Linear>
  typename Be::scalar evaluate(const batch_type& batch, Linear& linear, preheat::pass_kind p) {
    linear.begin(p);
    inputs_.assign(1, preheat::const_view_of<Be>(batch.X));
    for (const index_t l : order_) {
      inputs_.push_back(linear.forward(l, inputs_.back()));
    }
    output = read<Be>(*be_, inputs_.back());
    return be_->dot(batch.C, inputs_.back());
  }

  Be* be_;
  std::vector<preheat::base_layer<Be>> layers_;
  std::vector<index_t> order_;
  std::vector<preheat::const_view_of<Be>> inputs_;
};

// A layer m×n of random numbers, with or without a bias.
template <preheat::backend Be>
preheat::base_layer<Be> random_layer(Be& be, const std::string& name, index_t m, index_t n,
                                     bool bias, std::uint64_t seed) {
  return {name, matrix(be, random_table(m, n, seed)),
          bias ? matrix(be, random_table(m, 1, seed + 1)) : preheat::mat<Be>{}};
}

}  // namespace conformance
