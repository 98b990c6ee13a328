// What is checked of every adapter: its gradients by central differences, with and without dropout
// and bias, with shared weights; merging.
#pragma once
#include <preheat/train/report.hpp>

#include "support/backends.hpp"
#include "support/linear_network.hpp"

namespace conformance {

using namespace preheat;

inline constexpr double scaling_value = 1.5;

// Attaches an adapter with parameters that are random in every parameter, frozen ones and gates too.
template <class Be, class Adapter>
void attach_random(Be& be, adapted<Be, Adapter>& linear, index_t l, index_t rank,
                   std::uint64_t seed) {
  const frozen_linear<Be> base = linear.base(l);
  if constexpr (Adapter::has_factors) {
    factors<Be> f{matrix(be, random_table(rank, base.W.cols(), seed)),
                  matrix(be, random_table(base.W.rows(), rank, seed + 1))};
    auto p = linear.adapter().start(be, base, std::move(f), generator(seed));
    for_each(
        [&](auto parameter, auto& x) {
          if constexpr (parameter.role == parameter_role::gate) {
            write(be, random_table(x.rows(), x.cols(), seed + 2), view_of<Be>(x));
          }
        },
        p);
    linear.attach(l, std::move(p), scalar_of<Be>(scaling_value));
  } else {
    auto p = [&] {
      if constexpr (starts_of_rank<Adapter, Be>) {
        return linear.adapter().start(be, base, rank, generator(seed));
      } else {
        return linear.adapter().start(be, base, generator(seed));
      }
    }();
    for_each_trained(
        [&](auto, auto& x) { write(be, random_table(x.rows(), x.cols(), ++seed), view_of<Be>(x)); },
        p);
    linear.attach(l, std::move(p), starts_of_rank<Adapter, Be> ? scalar_of<Be>(scaling_value) : 1);
  }
}

template <class Be>
struct linear_problem {
  using net_type = linear_network<Be>;
  Be be;
  net_type net;
  typename net_type::batch_type batch;

  // Layers of out×in with the given shapes, used in the given order, on seven tokens.
  linear_problem(std::vector<std::pair<index_t, index_t>> shapes, std::vector<index_t> order,
                 bool bias, std::uint64_t seed = 70)
      : net(be, make_layers(shapes, bias, seed), order) {
    batch.X = matrix(be, random_table(shapes[order.front()].second, 7, seed + 50));
    batch.C = matrix(be, random_table(shapes[order.back()].first, 7, seed + 51));
  }

 private:
  std::vector<base_layer<Be>> make_layers(const std::vector<std::pair<index_t, index_t>>& shapes,
                                          bool bias, std::uint64_t seed) {
    std::vector<base_layer<Be>> layers;
    for (const auto& [m, n] : shapes) {
      layers.push_back(random_layer(be, "l" + std::to_string(layers.size()), m, n, bias, seed));
      seed += 2;
    }
    return layers;
  }
};

// The largest difference between a gradient and central differences of the training loss, where
// `x` is what the loss depends on. Where the loss is at most quadratic in an entry, any step h is exact.
template <class Be, class Linear>
double difference_gap(linear_problem<Be>& p, Linear& linear, mat<Be>& x, const table& gradient,
                      double h = 0.5) {
  const table start = read<Be>(p.be, x);
  table numeric(start.rows, start.cols);
  for (std::size_t i = 0; i < start.values.size(); ++i) {
    table moved = start;
    moved.values[i] = start.values[i] + h;
    write(p.be, moved, view_of<Be>(x));
    const double up = double(p.net.training_loss(p.batch, linear));
    moved.values[i] = start.values[i] - h;
    write(p.be, moved, view_of<Be>(x));
    const double down = double(p.net.training_loss(p.batch, linear));
    numeric.values[i] = (up - down) / (2 * h);
  }
  write(p.be, start, view_of<Be>(x));
  return gap(numeric, gradient);
}

// Every trained part of every attached layer, and the input, at the current dropout.
template <class Be, class Linear>
void check_gradients(linear_problem<Be>& p, Linear& linear, double h = 0.5) {
  linear.zero_gradients();
  p.net.loss_and_gradient(p.batch, linear);
  const table input_gradient = p.net.input_gradient;
  const double size =
      std::sqrt(square_norm(p.net.output)) * std::sqrt(square_norm(read<Be>(p.be, p.batch.C)));
  // A small step, where the loss is no polynomial of an entry, leaves its square and rounding over it.
  const double tol =
      h == 0.5 ? tolerance<Be>(1) * size : (10 * h * h + 16 * epsilon<Be> / h) * size;
  for (auto& adapted_layer : linear.layers()) {
    if (adapted_layer.attached) {
      for_each_trained(
          [&](auto parameter, mat<Be>& x, mat<Be>& g) {
            CAPTURE(std::string(parameter.name));
            const table gradient = read<Be>(p.be, g);
            CHECK((gradient.values.empty() || largest(gradient) > 0));
            CHECK(difference_gap(p, linear, x, gradient, h) < tol);
          },
          adapted_layer.parameters, adapted_layer.gradient);
    }
  }
  CHECK(difference_gap(p, linear, p.batch.X, input_gradient) < tol);
}

template <class Be, class Adapter>
void check_adapter(const Adapter& adapter = {}) {
  for (const bool bias : {true, false}) {
    CAPTURE(bias);
    for (const double rate : {0.0, 0.4}) {
      CAPTURE(rate);
      {
        linear_problem<Be> p({{5, 4}}, {0}, bias);
        adapted<Be, Adapter> linear(p.net, adapter);
        attach_random(p.be, linear, 0, 2, 80);
        linear.set_dropout(rate, generator(1));
        check_gradients(p, linear);
      }
      {  // two adapted layers and one that is not, in the middle
        linear_problem<Be> p({{5, 4}, {6, 5}, {3, 6}}, {0, 1, 2}, bias);
        adapted<Be, Adapter> linear(p.net, adapter);
        attach_random(p.be, linear, 0, 2, 82);
        attach_random(p.be, linear, 2, 1, 84);
        linear.set_dropout(rate, generator(2));
        check_gradients(p, linear);
      }
      {  // one layer used twice in a pass
        linear_problem<Be> p({{4, 4}}, {0, 0}, bias);
        adapted<Be, Adapter> linear(p.net, adapter);
        attach_random(p.be, linear, 0, 2, 86);
        linear.set_dropout(rate, generator(3));
        check_gradients(p, linear);
      }
    }
  }
}

template <class Be, class Adapter>
void check_merge(const Adapter& adapter = {}) {
  linear_problem<Be> p({{5, 4}}, {0}, true);
  const table w = read<Be>(p.be, p.net.layers()[0].W);
  adapted<Be, Adapter> linear(p.net, adapter);
  attach_random(p.be, linear, 0, 2, 94);
  p.net.loss(p.batch, linear);
  const table adapted_output = p.net.output;
  p.net.loss_and_gradient(p.batch, linear);  // merging uses parameters, not gradients
  linear.merge(0);
  CHECK_FALSE(linear.layers()[0].attached);
  p.net.loss(p.batch, linear);
  CHECK(gap(p.net.output, adapted_output) < tolerance<Be>(10) * largest(adapted_output));
  if constexpr (Adapter::has_factors) {
    base_layer<Be>& frozen = p.net.layers()[0];
    const auto& adapted_layer = linear.layers()[0];
    merge_into(linear.adapter(), p.be, adapted_layer.parameters, -adapted_layer.scaling,
               view_of<Be>(frozen.W), view_of<Be>(frozen.b));
    CHECK(gap(read<Be>(p.be, frozen.W), w) < tolerance<Be>(4) * largest(w));
  }
}

}  // namespace conformance
