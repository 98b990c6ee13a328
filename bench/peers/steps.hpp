// Work of training: the adapted step of one layer and its bound, AdamW, a GELU pass, a whole step of an MLP.
#pragma once
#include <memory>
#include <optional>

#include "work.hpp"

namespace peers {

// Forward, dX, dA, dB of one LoRA layer.
class adapted_step : public work {
 public:
  adapted_step(backend_type& be, const inputs& given)
      : be_(be),
        W_(given.weight("W")),
        X_(given.batch("X")),
        dY_(given.batch("dY")),
        Y_(be.zeros(W_.rows(), X_.cols())),
        dX_(be.zeros(W_.cols(), X_.cols())),
        base_{.W = W_, .b = {}, .scaling = given.number("scaling")},
        parameters_(lora_.start(be, base_, {given.weight("A"), given.weight("B")}, generator())),
        gradient_(zeros_like(be, parameters_)) {}

  void run() override {
    const layer_input<backend_type> x{X_, X_};
    const input_gradient<backend_type> dx{dX_, dX_};
    set_zero(be_, gradient_);
    lora_.forward(be_, parameters_, base_, x, view_of<backend_type>(Y_), tape_);
    lora_.backward(be_, parameters_, base_, x, const_view_of<backend_type>(dY_), gradient_, dx,
                   tape_);
  }
  void save(outputs& to) override {
    to.batch("Y", Y_);
    to.batch("dX", dX_);
    to.weight("dA", gradient_.A);
    to.weight("dB", gradient_.B);
  }

 private:
  backend_type& be_;
  matrix W_, X_, dY_, Y_, dX_;
  adapter::lora lora_;
  frozen_linear<backend_type> base_;
  adapter::lora::params<backend_type> parameters_, gradient_;
  adapter::lora::saved_activations<backend_type> tape_;
};

// The two products with W that no adapted step can do without.
class frozen_products : public work {
 public:
  frozen_products(backend_type& be, const inputs& given)
      : be_(be),
        W_(given.weight("W")),
        X_(given.batch("X")),
        dY_(given.batch("dY")),
        Y_(be.zeros(W_.rows(), X_.cols())),
        dX_(be.zeros(W_.cols(), X_.cols())) {}

  void run() override {
    be_.gemm(1, transpose::no, W_, transpose::no, X_, 0, Y_);
    be_.gemm(1, transpose::yes, W_, transpose::no, dY_, 0, dX_);
  }
  void save(outputs& to) override {
    to.batch("Y", Y_);
    to.batch("dX", dX_);
  }

 private:
  backend_type& be_;
  matrix W_, X_, dY_, Y_, dX_;
};

class adamw_step : public work {
 public:
  using params = adapter::full::params<backend_type>;

  adamw_step(backend_type& be, const inputs& given)
      : be_(be),
        parameters_{given.weight("p"), {}},
        gradient_{given.weight("g"), {}},
        moments_(optim_.start(be, parameters_)) {}

  void run() override {
    optim_.step(be_, parameters_, gradient_, moments_, {.learning_rate = optim_.lr});
  }
  void save(outputs& to) override { to.weight("p", parameters_.W); }

 private:
  backend_type& be_;
  optim::adamw optim_;
  params parameters_, gradient_;
  optim::adamw::state<backend_type, params> moments_;
};

// GELU of a layer's outputs and its gradient: what an encoder does between two products.
class gelu_pass : public work {
 public:
  gelu_pass(backend_type& be, const inputs& given)
      : be_(be),
        z_(given.batch("z")),
        h_(be.zeros(z_.rows(), z_.cols())),
        cdf_(be.zeros(z_.rows(), z_.cols())),
        d_(be.zeros(z_.rows(), z_.cols())) {}

  void run() override {
    be_.fill(1, d_);
    be_.apply(nn::gelu_kernel<float>{}, h_, cdf_, z_);
    be_.apply(nn::gelu_gradient_kernel<float>{}, d_, z_, cdf_);
  }
  void save(outputs& to) override {
    to.batch("h", h_);
    to.batch("d", d_);
  }

 private:
  backend_type& be_;
  matrix z_, h_, cdf_, d_;
};

// Starts layer l from the first factor that is given for it, and B = 0.
struct given_factor {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;

  const std::vector<matrix>* A = nullptr;

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    return {clone<Be>(be, (*A)[s.layer]), be.zeros(s.W.rows(), s.rank)};
  }
};

// The whole training step of an MLP of two layers with biases, GELU between them, every layer adapted: batch
// (of so many drawn columns, or 0: all), forward, loss, backward, AdamW on the adapters.
class mlp_step : public work {
 public:
  using network = nn::mlp<backend_type, nn::mean_squared>;
  using data = nn::minibatches<backend_type>;
  using training = preheat::training_run<method<given_factor>, network, data, false>;

  mlp_step(backend_type& be, const inputs& given)
      : net_(be, layers(given)),
        data_(be, given.batch("X"), given.batch("target"), given.whole("batch")) {
    for (const char* name : {"A0", "A1"}) {
      A_.push_back(given.weight(name));
    }
    fit_options options;
    options.rank = A_.front().rows();
    options.steps = most_steps;
    training_.emplace(method<given_factor>{.init = {&A_}}, net_, data_, options, nullptr);
  }

  void run() override { training_->step(); }
  void save(outputs& to) override {
    auto& adapted_layers = training_->adapters.layers();
    for (std::size_t l = 0; l < 2; ++l) {
      to.weight("A" + std::to_string(l), adapted_layers[l].parameters.A);
      to.weight("B" + std::to_string(l), adapted_layers[l].parameters.B);
    }
  }

 private:
  static constexpr index_t most_steps = 1000000;

  static std::vector<base_layer<backend_type>> layers(const inputs& given) {
    std::vector<base_layer<backend_type>> all;
    for (const char* number : {"0", "1"}) {
      all.push_back({std::string("layers.") + number, given.weight(std::string("W") + number),
                     given.weight(std::string("b") + number)});
    }
    return all;
  }

  network net_;
  data data_;
  std::vector<matrix> A_;
  std::optional<training> training_;
};

// The three products with frozen weights that no step of that MLP can do without: both layers forward, and the
// gradient with respect to the second layer's input. The targets stand in for the gradient of the loss.
class mlp_products : public work {
 public:
  mlp_products(backend_type& be, const inputs& given)
      : be_(be),
        W0_(given.weight("W0")),
        W1_(given.weight("W1")),
        X_(given.batch("X")),
        dY_(given.batch("target")),
        H_(be.zeros(W0_.rows(), X_.cols())),
        Y_(be.zeros(W1_.rows(), X_.cols())),
        dH_(be.zeros(W1_.cols(), X_.cols())) {}

  void run() override {
    be_.gemm(1, transpose::no, W0_, transpose::no, X_, 0, H_);
    be_.gemm(1, transpose::no, W1_, transpose::no, H_, 0, Y_);
    be_.gemm(1, transpose::yes, W1_, transpose::no, dY_, 0, dH_);
  }
  void save(outputs& to) override {
    to.batch("Y", Y_);
    to.batch("dH", dH_);
  }

 private:
  backend_type& be_;
  matrix W0_, W1_, X_, dY_, H_, Y_, dH_;
};

}  // namespace peers
