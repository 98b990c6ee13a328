// Linear regressions side by side, one per layer, whose gradients are known in closed form: what the
// update rules of every method are compared on with plain loops.
//
//   loss = Σ_l ½·‖(W_l + ΔW_l)·X_l − Y_l‖²/N,   ∂loss/∂(W_l + ΔW_l) = ((W_l + ΔW_l)·X_l − Y_l)·X_lᵀ/N
//
// A batch is a range of the columns of every X_l and Y_l; the batch of step k begins at another
// column than that of step k − 1.
#pragma once
#include <preheat/linalg/elementwise.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "table.hpp"

namespace conformance {

struct column_range {
  index_t first = 0;
  index_t count = 0;
};

// The data, and the mathematics on tables.
struct regression_data {
  static constexpr index_t tokens = 24;
  static constexpr index_t batch_size = 6;

  struct one {
    table W, X, Y;
  };
  std::vector<one> layers;

  // Layers of out×in.
  explicit regression_data(const std::vector<std::pair<index_t, index_t>>& shapes,
                           std::uint64_t seed = 300) {
    for (const auto& [m, n] : shapes) {
      layers.push_back({random_table(m, n, seed), random_table(n, tokens, seed + 1),
                        random_table(m, tokens, seed + 2)});
      seed += 3;
    }
  }

  static column_range batch(index_t step) { return {step * batch_size % tokens, batch_size}; }
  static column_range everything() { return {0, tokens}; }

  // (W + ΔW)·X − Y
  table residual(std::size_t l, const table& W, column_range c) const {
    return W * columns(layers[l].X, c.first, c.count) - columns(layers[l].Y, c.first, c.count);
  }
  // ∂loss/∂W of a layer whose whole weight is W.
  table gradient(std::size_t l, const table& W, column_range c) const {
    return (1.0 / double(c.count)) *
           (residual(l, W, c) * transposed(columns(layers[l].X, c.first, c.count)));
  }
  // The loss, given the whole weight of every layer.
  double loss(const std::vector<table>& weights, column_range c) const {
    double sum = 0;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      sum += square_norm(residual(l, weights[l], c)) / (2 * double(c.count));
    }
    return sum;
  }
};

// The same on a backend: a network of the library and its batches.
template <preheat::backend Be>
class regressions {
 public:
  using backend_type = Be;
  using batch_type = column_range;
  using T = typename Be::scalar;

  struct batches {
    void load(const preheat::generator&, index_t step, column_range& batch) const {
      batch = regression_data::batch(step);
    }
  };

  regressions(Be& be, const regression_data& data) : be_(&be) {
    for (const auto& [W, X, Y] : data.layers) {
      body_.push_back({"l" + std::to_string(body_.size()), matrix(be, W), {}});
      X_.push_back(matrix(be, X));
      Y_.push_back(matrix(be, Y));
    }
    residuals_.resize(body_.size());
  }

  Be& backend() const { return *be_; }
  std::span<preheat::base_layer<Be>> layers() { return body_; }
  std::vector<table> weights() {
    std::vector<table> all;
    for (const auto& l : body_) {
      all.push_back(read<Be>(*be_, l.W));
    }
    return all;
  }

  template <class Linear>
  T loss(const column_range& c, Linear& linear) {
    linear.begin(preheat::pass_kind::evaluation);
    return forward(c, linear);
  }
  template <class Linear>
  T loss_and_gradient(const column_range& c, Linear& linear) {
    linear.begin(preheat::pass_kind::training);
    const T value = forward(c, linear);
    for (std::size_t l = body_.size(); l-- > 0;) {
      be_->apply(preheat::linalg::scale<T>{T(1) / T(c.count)}, residuals_[l]);
      linear.backward(index_t(l), inputs(l, c), residuals_[l], false);
    }
    return value;
  }

 private:
  preheat::const_view_of<Be> inputs(std::size_t l, const column_range& c) const {
    return preheat::const_view_of<Be>(X_[l]).col_range(c.first, c.count);
  }
  template <class Linear>
  T forward(const column_range& c, Linear& linear) {
    T sum = 0;
    for (std::size_t l = 0; l < body_.size(); ++l) {
      const preheat::view_of<Be> Y = linear.forward(index_t(l), inputs(l, c));
      be_->resize(residuals_[l], Y.rows(), Y.cols());
      be_->copy(preheat::transpose::no, Y, residuals_[l]);
      be_->apply(preheat::linalg::axpby<T>{-1, 1}, residuals_[l],
                 preheat::const_view_of<Be>(Y_[l]).col_range(c.first, c.count));
      sum += be_->dot(residuals_[l], residuals_[l]) / (2 * T(c.count));
    }
    return sum;
  }

  Be* be_;
  std::vector<preheat::base_layer<Be>> body_;
  std::vector<preheat::mat<Be>> X_;
  std::vector<preheat::mat<Be>> Y_;
  std::vector<preheat::mat<Be>> residuals_;
};

// A table, one entry at a time.
template <class F>
table mapped(table a, F f) {
  for (double& x : a.values) {
    x = f(x);
  }
  return a;
}

// Adam's moments of one table and its direction m̂/(√v̂ + ε), by the textbook, in plain loops.
struct reference_adam {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  table m{}, v{};
  int t = 0;

  table direction(const table& g) {
    if (t++ == 0) {
      m = table(g.rows, g.cols);
      v = m;
    }
    table u(g.rows, g.cols);
    for (std::size_t i = 0; i < g.values.size(); ++i) {
      m.values[i] = beta1 * m.values[i] + (1 - beta1) * g.values[i];
      v.values[i] = beta2 * v.values[i] + (1 - beta2) * g.values[i] * g.values[i];
      const double first = m.values[i] / (1 - std::pow(beta1, t));
      const double second = v.values[i] / (1 - std::pow(beta2, t));
      u.values[i] = first / (std::sqrt(second) + epsilon);
    }
    return u;
  }
};

}  // namespace conformance
