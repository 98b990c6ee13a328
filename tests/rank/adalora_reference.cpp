// AdaLoRA against a second implementation in plain loops, step by step, in double: gradients, the
// orthogonality penalty, AdamW, importance, scores, budget and masks.
#include <preheat/init/gaussian_pair.hpp>
#include <preheat/method.hpp>
#include <preheat/optim/regularized.hpp>
#include <preheat/rank/adalora.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/regressions.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using method_type = method<adapter::gated<adapter::gate::closed>, init::gaussian_pair,
                           optim::regularized<>, rank::adalora>;

constexpr index_t steps = 20;
constexpr index_t start_rank = 4;
constexpr double scaling_value = 3 / (double(start_rank) + 1e-5);

method_type settings() {
  return {.init = {.sigma = 0.3},  // far enough from zero for twenty steps to tell
          .optim = {.base = {.lr = 0.05, .weight_decay = 0.1}, .lambda = 0.5},
          .rank = {.target = 2,
                   .warmup = 3,
                   .final_steps = 5,
                   .every = 4,
                   .beta1 = 0.8,
                   .beta2 = 0.7,
                   .prune = false}};
}

// A trained matrix with its optimizer and its importance.
struct entry {
  table p;
  reference_adam adam{};
  table sensitivity{}, uncertainty{};

  void weigh(const table& g, double beta1, double beta2) {
    if (sensitivity.values.empty()) {
      sensitivity = table(p.rows, p.cols);
      uncertainty = sensitivity;
    }
    for (std::size_t i = 0; i < p.values.size(); ++i) {
      const double now = std::abs(p.values[i] * g.values[i]);
      double& mean = sensitivity.values[i];
      mean = beta1 * mean + (1 - beta1) * now;
      uncertainty.values[i] = beta2 * uncertainty.values[i] + (1 - beta2) * std::abs(now - mean);
    }
  }
  double importance(index_t i, index_t j) const { return sensitivity(i, j) * uncertainty(i, j); }
  void step(const table& g, const optim::adamw& o) {
    p = (1 - o.lr * o.weight_decay) * p - o.lr * adam.direction(g);
  }
};
struct reference_layer {
  entry A, B, E;
  std::vector<char> masked = std::vector<char>(std::size_t(start_rank), 0);

  double score(index_t k) const {
    double a = 0;
    for (index_t j = 0; j < A.p.cols; ++j) {
      a += A.importance(k, j);
    }
    double b = 0;
    for (index_t i = 0; i < B.p.rows; ++i) {
      b += B.importance(i, k);
    }
    return E.importance(k, 0) + a / double(A.p.cols) + b / double(B.p.rows);
  }
  void mask() {
    for (std::size_t k = 0; k < masked.size(); ++k) {
      E.p.values[k] = masked[k] != 0 ? 0 : E.p.values[k];
    }
  }
};

// The gradient of share·‖x·xᵀ − I‖_F.
table penalty(const table& x, double share) {
  const table error = x * transposed(x) - identity(x.rows);
  return (2 * share / std::sqrt(square_norm(error))) * (error * x);
}

void reference_step(std::vector<reference_layer>& layers, const regression_data& data, index_t t) {
  const method_type m = settings();
  const auto& r = m.rank;
  const index_t last_allocation = steps - r.final_steps;
  const double share = m.optim.lambda / double(2 * layers.size());
  for (std::size_t l = 0; l < layers.size(); ++l) {
    reference_layer& x = layers[l];
    const table gates = diagonal(x.E.p.values);
    const table whole = data.layers[l].W + scaling_value * (x.B.p * gates * x.A.p);
    const table dW = scaling_value * data.gradient(l, whole, data.batch(t - 1));
    const table gA = gates * transposed(x.B.p) * dW + penalty(x.A.p, share);
    const table gB = dW * transposed(x.A.p) * gates + transposed(penalty(transposed(x.B.p), share));
    const table middle = transposed(x.B.p) * dW * transposed(x.A.p);
    table gE(start_rank, 1);
    for (index_t k = 0; k < start_rank; ++k) {
      gE(k, 0) = middle(k, k);
    }
    if (t < last_allocation) {
      x.A.weigh(gA, r.beta1, r.beta2);
      x.B.weigh(gB, r.beta1, r.beta2);
      x.E.weigh(gE, r.beta1, r.beta2);
    }
    x.A.step(gA, m.optim.base);
    x.B.step(gB, m.optim.base);
    x.E.step(gE, m.optim.base);
  }
  const bool allocates =
      t > r.warmup && (t == last_allocation || (t < last_allocation && t % r.every == 0));
  if (allocates) {
    const double passed = double(t - r.warmup) / double(steps - r.warmup - r.final_steps);
    const double first = double(start_rank * index_t(layers.size()));
    const double target = double(r.target * index_t(layers.size()));
    const auto live = index_t(target + (first - target) * std::pow(1 - passed, 3));
    for (reference_layer& x : layers) {
      x.masked.assign(std::size_t(start_rank), 0);
    }
    for (auto left = index_t(first) - live; left > 0; --left) {  // the least of those that are left
      char* least = nullptr;
      double score = std::numeric_limits<double>::infinity();
      for (reference_layer& x : layers) {
        for (index_t k = 0; k < start_rank; ++k) {
          if (x.masked[k] == 0 && x.score(k) < score) {
            score = x.score(k);
            least = &x.masked[k];
          }
        }
      }
      REQUIRE(least != nullptr);
      *least = 1;
    }
  }
  if (allocates || t > last_allocation) {
    for (reference_layer& x : layers) {
      x.mask();
    }
  }
}

}  // namespace

TEST_CASE_TEMPLATE("AdaLoRA: twenty steps equal a second implementation", Be,
                   conformance::cpu_double, conformance::archetype_double) {
  Be be;
  const regression_data data({{9, 7}, {6, 9}, {8, 5}});
  regressions<Be> net(be, data);
  typename regressions<Be>::batches batches;
  auto run = start_run(
      settings(), net, batches,
      {.rank = start_rank, .steps = steps, .seed = 3, .scaling = scaling::constant(scaling_value)});
  std::vector<reference_layer> layers;
  for (const auto& adapted_layer : run.adapters.layers()) {
    const auto& p = adapted_layer.parameters;
    layers.push_back({{read<Be>(be, p.A)}, {read<Be>(be, p.B)}, {read<Be>(be, p.g)}});
    CHECK(largest(layers.back().E.p) == 0);
  }
  bool apart = false;
  index_t masked = 0;
  for (index_t t = 1; t <= steps; ++t) {
    CAPTURE(t);
    run.step();
    reference_step(layers, data, t);
    masked = 0;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const auto& p = run.adapters.layers()[l].parameters;
      CHECK(gap(read<Be>(be, p.A), layers[l].A.p) < 1e-10);
      CHECK(gap(read<Be>(be, p.B), layers[l].B.p) < 1e-10);
      CHECK(gap(read<Be>(be, p.g), layers[l].E.p) < 1e-10);
      for (std::size_t k = 0; k < layers[l].masked.size(); ++k) {
        masked += layers[l].masked[k];
        apart = apart || layers[l].masked[k] != layers[0].masked[k];
      }
    }
  }
  CHECK(masked == 2 * index_t(layers.size()));
  CHECK(apart);  // the layers were not treated alike
}
