// A small classification task: an mlp of three layers and two dozen tokens. No activation has the
// shape of a weight, so that a record of shapes distinguishes them.
#pragma once
#include <preheat/nn/minibatches.hpp>
#include <preheat/train/report.hpp>

#include "table.hpp"

namespace conformance {

template <preheat::backend Be>
struct toy_task {
  using net_type = preheat::nn::mlp<Be>;
  using batch_type = preheat::nn::labelled_batch<Be>;

  static constexpr index_t tokens = 24;
  static constexpr index_t batch_size = 8;
  static constexpr index_t classes = 5;

  Be be;
  net_type net;
  preheat::nn::minibatches<Be> data;
  batch_type all;         // the whole set
  batch_type validation;  // other tokens of the same task

  explicit toy_task(index_t size = batch_size)
      : net(be, {10, 15, 12, classes}, 200),
        data(be, inputs(201), labels(201), size),
        all{inputs(201), labels(201)},
        validation{inputs(202), labels(202)} {}
  toy_task(const toy_task&) = delete;
  toy_task& operator=(const toy_task&) = delete;

  table base_output() {
    preheat::base_operator<Be> linear(net);
    return read<Be>(be, net.forward(all.X, linear));
  }
  double base_loss() {
    preheat::base_operator<Be> linear(net);
    return double(net.loss(all, linear));
  }
  template <class Report>
  table adapted_output(const Report& report) {
    auto linear = preheat::attach(net, report);
    return read<Be>(be, net.forward(all.X, linear));
  }
  std::vector<table> weights() {
    std::vector<table> all_weights;
    for (const auto& l : net.layers()) {
      all_weights.push_back(read<Be>(be, l.W));
      all_weights.push_back(read<Be>(be, l.b));
    }
    return all_weights;
  }
  // Bitwise.
  bool weights_are_those_of(toy_task& other) {
    const std::vector<table> a = weights();
    const std::vector<table> b = other.weights();
    bool equal = a.size() == b.size();
    for (std::size_t i = 0; equal && i < a.size(); ++i) {
      equal = same(a[i], b[i]);
    }
    return equal;
  }

 private:
  preheat::mat<Be> inputs(std::uint64_t seed) { return matrix(be, random_table(10, tokens, seed)); }
  // The class is a function of the input: the largest of the first five features.
  preheat::mat<Be> labels(std::uint64_t seed) {
    const table x = random_table(10, tokens, seed);
    table t(1, tokens);
    for (index_t j = 0; j < tokens; ++j) {
      index_t best = 0;
      for (index_t i = 1; i < classes; ++i) {
        best = x(i, j) > x(best, j) ? i : best;
      }
      t(0, j) = double(best);
    }
    return matrix(be, t);
  }
};

// Every parameter of a report, in order.
template <preheat::backend Be, class Report>
std::vector<table> parameters(Be& be, const Report& report) {
  std::vector<table> all;
  for (const auto& l : report.layers) {
    preheat::for_each([&](auto, const auto& x) { all.push_back(read<Be>(be, x)); }, l.parameters);
  }
  return all;
}
// The largest difference between the parameters of two reports.
template <preheat::backend Be, class Report>
double parameter_gap(Be& be, const Report& a, const Report& b) {
  const std::vector<table> x = parameters(be, a);
  const std::vector<table> y = parameters(be, b);
  double most = x.size() == y.size() ? 0 : std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    most = std::max(most, gap(x[i], y[i]));
  }
  return most;
}
// Whether two reports are bitwise the same in steps, losses, rates and parameters.
template <preheat::backend Be, class Report>
bool same_results(Be& be, const Report& a, const Report& b) {
  return a.steps == b.steps && a.calibration_steps == b.calibration_steps && a.losses == b.losses &&
         a.learning_rates == b.learning_rates && parameter_gap(be, a, b) == 0;
}

}  // namespace conformance
