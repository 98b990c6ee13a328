// Work of an encoder of MiniLM's shape: a training step with every linear layer adapted, and the
// products with the frozen weights that no such step can do without.
#pragma once
#include <optional>
#include <preheat/nn/bert.hpp>
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

// The weights that Hugging Face's names mean, without a pooler.
inline nn::bert_weights<backend_type> given_bert(const inputs& given) {
  nn::bert_weights<backend_type> w;
  const auto norm = [&](const std::string& name) {
    return nn::layer_norm_weights<backend_type>{given.weight(name + ".weight"),
                                                given.weight(name + ".bias")};
  };
  w.frozen.embeddings = {given.batch("embeddings.word_embeddings.weight"),
                         given.batch("embeddings.position_embeddings.weight"),
                         given.batch("embeddings.token_type_embeddings.weight")};
  w.frozen.norm = norm("embeddings.LayerNorm");
  nn::bert_config& c = w.config;
  c.vocab_size = w.frozen.embeddings.words.cols();
  c.hidden_size = w.frozen.embeddings.words.rows();
  c.max_position_embeddings = w.frozen.embeddings.positions.cols();
  c.type_vocab_size = w.frozen.embeddings.types.cols();
  c.num_hidden_layers = given.whole("layers");
  c.num_attention_heads = given.whole("heads");
  for (index_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string block = "encoder.layer." + std::to_string(i) + ".";
    for (const char* part : nn::linear_layer_names) {
      const std::string name = block + part;
      w.layers.push_back({name, given.weight(name + ".weight"), given.weight(name + ".bias")});
    }
    w.frozen.blocks.push_back(
        {norm(block + "attention.output.LayerNorm"), norm(block + "output.LayerNorm")});
  }
  c.intermediate_size = w.layers[4].W.rows();
  return w;
}

// Batch, forward, loss, backward, AdamW on the adapters and on the head.
class encoder_step : public work {
 public:
  using network = nn::bert<backend_type, nn::mean_pool_head>;
  struct one_batch {
    backend_type* be;
    nn::token_batch<backend_type> batch{};
    void load(const generator&, index_t, nn::token_batch<backend_type>& to) const {
      to.ids = batch.ids;
      to.lengths = batch.lengths;
      be->resize(to.target, 1, batch.target.cols());
      be->copy(transpose::no, batch.target, to.target);
    }
  };
  using training = preheat::training_run<method<given_pair>, network, one_batch, false>;

  encoder_step(backend_type& be, const inputs& given)
      : net_(be, given_bert(given), {given.weight("head.weight"), given.weight("head.bias")}),
        data_{&be} {
    const matrix ids = given.batch("ids");  // length × sequences
    for (const float id : be.download(ids)) {
      data_.batch.ids.push_back(index_t(id));
    }
    data_.batch.lengths.assign(std::size_t(ids.cols()), ids.rows());
    data_.batch.target = given.batch("labels");
    for (std::size_t l = 0; l < net_.layers().size(); ++l) {
      A_.push_back(given.weight("A" + std::to_string(l)));
      B_.push_back(given.weight("B" + std::to_string(l)));
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
    to.weight("dW", net_.head().gradient.W);
    to.weight("db", net_.head().gradient.b);
    to.number("loss", loss_);
  }

 private:
  static constexpr index_t most_steps = 100000;

  network net_;
  one_batch data_;
  std::vector<matrix> A_, B_;
  double loss_ = 0;
  std::optional<training> training_;
};

// W·X of every linear layer, and Wᵀ·dY of those that have a trained layer below them.
class encoder_products : public work {
 public:
  encoder_products(backend_type& be, const inputs& given)
      : be_(be), layers_(given_bert(given).layers) {
    const matrix ids = given.batch("ids");
    for (const auto& l : layers_) {
      X_.push_back(linalg::normal(be, l.W.cols(), ids.rows() * ids.cols(), 1, generator(1)));
      Y_.push_back(be.zeros(l.W.rows(), X_.back().cols()));
      dX_.push_back(be.zeros(l.W.cols(), X_.back().cols()));
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
