// What the steps of networks have in common: a training step with every linear layer adapted from given factors,
// and the products with the frozen weights that no such step can do without.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "work.hpp"

namespace peers {

// Starts layer l from the factors that are given for it.
struct given_pair {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::nonzero;

  const std::vector<matrix>* A = nullptr;
  const std::vector<matrix>* B = nullptr;

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    return {clone<Be>(be, (*A)[s.layer]), clone<Be>(be, (*B)[s.layer])};
  }
};

// Batch, forward, loss, backward, AdamW on the adapters, and on the head of a network that trains one. Layer l
// starts from the given "A<l>" and "B<l>"; every step has the same batch, which copy(from, to) loads.
template <class Net, class Copy>
class network_step : public work {
 public:
  using batch_type = typename Net::batch_type;
  struct one_batch {
    Copy copy;
    batch_type batch;
    void load(const generator&, index_t, batch_type& to) const { copy(batch, to); }
  };
  using training = preheat::training_run<method<given_pair>, Net, one_batch, false>;

  network_step(const inputs& given, Net net, batch_type batch, Copy copy)
      : net_(std::move(net)), data_{copy, std::move(batch)} {
    const std::size_t layers = net_.layers().size();
    const std::size_t distinct =
        given.has("given_factors") ? std::size_t(given.whole("given_factors")) : layers;
    for (std::size_t l = 0; l < layers; ++l) {
      A_.push_back(given.weight("A" + std::to_string(l % distinct)));
      B_.push_back(given.weight("B" + std::to_string(l % distinct)));
    }
    fit_options options;
    options.rank = A_.front().rows();
    options.steps = most_steps;
    options.observer = [this](const training_progress& p) { loss_ = p.loss; };
    method<given_pair> m{.init = {&A_, &B_}};
    m.optim.lr = given.number("rate");
    training_.emplace(m, net_, data_, options, nullptr);
  }

  void run() override { training_->step(); }
  // The last step's loss and gradients.
  void save(outputs& to) override {
    auto& adapted_layers = training_->adapters.layers();
    for (std::size_t l = 0; l < adapted_layers.size(); ++l) {
      to.weight("dA" + std::to_string(l), adapted_layers[l].gradient.A);
      to.weight("dB" + std::to_string(l), adapted_layers[l].gradient.B);
    }
    if constexpr (trains_head<Net>) {
      to.weight("dW", net_.head().gradient.W);
      to.weight("db", net_.head().gradient.b);
    }
    to.number("loss", loss_);
  }

 private:
  static constexpr index_t most_steps = 100000;

  Net net_;
  one_batch data_;
  std::vector<matrix> A_, B_;
  double loss_ = 0;
  std::optional<training> training_;
};

// The tokens of a batch, and how many there are: "ids" are [texts, tokens of each].
template <class Batch>
void load_tokens(backend_type& be, const inputs& given, Batch& batch) {
  const matrix ids = given.batch("ids");
  for (const float id : be.download(ids)) {
    batch.ids.push_back(index_t(id));
  }
  batch.lengths.assign(std::size_t(ids.cols()), ids.rows());
}

inline index_t tokens_of(const inputs& given) {
  const matrix ids = given.batch("ids");
  return ids.rows() * ids.cols();
}

// W·X of every linear layer, and Wᵀ·dY of those that have a trained layer below them: all but the first three,
// Q, K and V of the first block.
class layer_products : public work {
 public:
  layer_products(backend_type& be, std::vector<base_layer<backend_type>> layers, index_t tokens)
      : be_(be), layers_(std::move(layers)) {
    for (const auto& l : layers_) {
      X_.push_back(linalg::normal(be, l.W.cols(), tokens, 1, generator(1)));
      Y_.push_back(be.zeros(l.W.rows(), tokens));
      dX_.push_back(be.zeros(l.W.cols(), tokens));
    }
  }
  void run() override {
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      be_.gemm(1, transpose::no, layers_[l].W, transpose::no, X_[l], 0, Y_[l]);
    }
    for (std::size_t l = layers_.size(); l-- > 3;) {
      be_.gemm(1, transpose::yes, layers_[l].W, transpose::no, Y_[l], 0, dX_[l]);
    }
  }
  void save(outputs&) override {}

 private:
  backend_type& be_;
  std::vector<base_layer<backend_type>> layers_;
  std::vector<matrix> X_, Y_, dX_;
};

}  // namespace peers
