// The curvature of the loss in the adapters' parameters: the largest eigenvalue λ of its Hessian H,
// by Lanczos' method on products with H, which are differences of two gradients,
//
//   H·v ≈ (∇loss(p + ε·v) − ∇loss(p − ε·v))/(2ε),  ‖v‖ = 1,
//
// and a learning rate from it. The best rate of a start falls where λ rises ("Learning Rate Matters:
// Vanilla LoRA May Suffice for LLM Fine-tuning", arXiv 2602.04998, which measures λ of single layers by
// automatic differentiation): a start with ten times the curvature needs about a tenth of the rate.
//
//   auto run = start_run(pissa{}, network, batches, options);   // (a residual init changes W)
//   const auto c = curvature(network, run.adapters, batches);
//   const double rate = suggest_rate({.rate = 1e-3, .curvature = of_lora}, c.largest);
//
// p are the trained parameters of all attached layers, or of some, as one vector. Nothing is asked of
// the network or the adapter but a training pass, so it works for any of them. The parameters are
// bitwise as before afterwards; the gradients are not. Dropout stays as the last pass had it.
//
// Cost: two training passes per batch and iteration, one vector of the parameters' size per
// iteration, kept for reorthogonalization, and two more.
// Errors: no attached layer; batches or iterations < 1; a gradient that is not finite.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "../operators/parameter_space.hpp"

namespace preheat {

struct curvature_options {
  index_t batches = 1;            // whose mean loss it is: the first ones of a run with this seed
  std::uint64_t seed = 0;         // of the batches, and of the first direction
  index_t iterations = 30;        // at most
  double tolerance = 1e-3;        // it ends when `error` is at most this share of λ
  double step = 0;                // ε; 0: ∛(machine epsilon)·max(1, ‖p‖) [preheat]
  std::vector<index_t> layers{};  // only these layers' parameters; empty: all attached ones
};

struct curvature_estimate {
  double largest = 0;      // λ, the largest eigenvalue; Lanczos' values lie inside the spectrum
  double smallest = 0;     // the smallest, which converges later or not at all
  double error = 0;        // some eigenvalue is as near as this to `largest`
  index_t iterations = 0;  // products with H
  index_t passes = 0;      // training passes of one batch
};

// The curvature at the present parameters of `linear`: an adapted operator, or `adapters` of a run.
template <network Net, class Linear, class Data>
curvature_estimate curvature(Net& net, Linear& linear, Data&& data,
                             const curvature_options& options = {}) {
  using space_type = parameter_space<Linear>;
  using vector = typename space_type::vector;
  using T = typename space_type::T;
  require(options.batches >= 1 && options.iterations >= 1, "curvature: batches, iterations >= 1",
          options.batches, options.iterations);
  require(options.step >= 0 && options.tolerance >= 0, "curvature: step, tolerance >= 0",
          options.step, options.tolerance);
  space_type space(linear, options.layers);
  const generator gen(options.seed);
  typename Net::batch_type batch{};
  curvature_estimate found;
  const auto gradient_at = [&](const vector& p) {
    space.move_to(p);
    linear.zero_gradients();
    for (index_t k = 0; k < options.batches; ++k) {
      data.load(gen.fork(purpose::batch), k, batch);
      linear.expect_pass();
      net.loss_and_gradient(batch, linear);
      ++found.passes;
    }
    vector g = space.gradient();
    space.scale(g, 1 / double(options.batches));
    return g;
  };

  const vector p = space.parameters();
  const double epsilon = std::numeric_limits<T>::epsilon();
  const double h = options.step > 0
                       ? options.step
                       : std::cbrt(epsilon) * std::max(1.0, std::sqrt(space.dot(p, p)));
  std::vector<vector> basis;
  std::vector<double> diagonal, beside;
  vector next = space.random(gen);
  double length = std::sqrt(space.dot(next, next));
  while (true) {
    space.scale(next, 1 / length);
    basis.push_back(std::move(next));
    next = gradient_at(space.sum(p, h, basis.back()));
    space.add(next, -1, gradient_at(space.sum(p, -h, basis.back())));
    space.scale(next, 1 / (2 * h));
    diagonal.push_back(space.dot(next, basis.back()));
    for (int twice = 0; twice < 2; ++twice) {
      for (const vector& v : basis) {
        space.add(next, -space.dot(next, v), v);
      }
    }
    length = std::sqrt(space.dot(next, next));
    space.move_to(p);
    if (!std::isfinite(length) || !std::isfinite(diagonal.back())) {
      throw invalid_argument("curvature: the gradient has a NaN or infinite entry");
    }

    const index_t k = index_t(diagonal.size());
    std::vector<T> host(std::size_t(k * k), T(0));
    for (index_t i = 0; i < k; ++i) {
      host[i * (k + 1)] = T(diagonal[i]);
      if (i + 1 < k) {
        host[i * (k + 1) + 1] = host[i * (k + 1) + k] = T(beside[i]);
      }
    }
    mat<typename space_type::Be> tridiagonal = space.be().zeros(k, k);
    space.be().upload(host, tridiagonal);
    const auto pairs = space.be().eigh(tridiagonal);
    const std::vector<T> values = space.be().download(pairs.values);
    found.largest = double(values.back());
    found.smallest = double(values.front());
    found.error = length * std::abs(double(space.be().download(pairs.vectors).back()));
    found.iterations = k;
    const double scale = std::max(std::abs(found.largest), std::abs(found.smallest));
    if (found.error <= options.tolerance * std::abs(found.largest) || k == options.iterations ||
        length <= std::sqrt(epsilon) * scale) {
      return found;
    }
    beside.push_back(length);
  }
}

// A rate that was tuned for one start, and the curvature there.
struct tuned_rate {
  double rate = 0;
  double curvature = 0;
};

// The rate for another start: reference.rate·(reference.curvature/curvature)^power. power = 1 is the
// law of gradient descent on a quadratic; for Adam no power is published, so fit one to two tuned
// starts where you can [preheat]. Errors: a rate, curvature or power that is not positive and finite.
inline double suggest_rate(const tuned_rate& reference, double curvature, double power = 1) {
  for (const double x : {reference.rate, reference.curvature, curvature, power}) {
    require(x > 0 && std::isfinite(x), "suggest_rate: 0 < rate, curvature, power < infinity", x,
            0.0);
  }
  return reference.rate * std::pow(reference.curvature / curvature, power);
}

}  // namespace preheat
