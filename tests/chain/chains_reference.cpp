// The chains against plain loops in double, twenty steps in blocks of six: what a block draws and
// which layers it takes is read from the run when the block starts, all the rest is computed.
#include "chain_support.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using Be = cpu_double;

constexpr index_t block = 6;
constexpr index_t last_step = 20;  // 6 + 6 + 6 + 2
constexpr double s = 1.3;
const schedule::linear falling{};

// One layer: its weight, its adapter, and Adam's moments of the factors.
struct reference_layer {
  table W, A, B;
  bool attached = false;
  reference_adam adam_a{}, adam_b{};

  table whole() const { return attached ? W + s * (B * A) : W; }
  void start(const table& a, const table& b, bool keep_state) {
    A = a;
    B = b;
    if (!keep_state) {
      adam_a = {};
      adam_b = {};
    }
    attached = true;
  }
  void merge() {
    W = whole();
    attached = false;
  }
};

// What a step does to the factors of a layer, given their gradients.
struct factor_gradients {
  table A, B;
};
template <class Update>
void move(reference_layer& x, const table& G, double rate, Update update) {
  update(x, factor_gradients{s * (transposed(x.B) * G), s * (G * transposed(x.A))}, rate);
}

// Which factor is drawn: the other starts at zero, by the reference's own hand.
enum class drawn { A, B };

// Runs m on three layers, or the reference, whose steps are `update(layer, gradients, rate)`, and
// compares after every step.
template <class Method, class Update>
void check(const Method& m, index_t chosen, drawn which, Update update) {
  bool keep_state = false;
  if constexpr (requires { m.chain.keep_state; }) {
    keep_state = m.chain.keep_state;
  }
  chain_problem<Be> p({{5, 4}, {4, 6}, {6, 5}}, 500);
  std::vector<reference_layer> reference(3);
  for (std::size_t l = 0; l < 3; ++l) {
    reference[l].W = p.data.layers[l].W;
  }
  fit_options options{.rank = 2, .steps = last_step, .scaling = scaling::constant(s)};
  options.schedule = falling;
  auto run = start_run(m, p.net, p.batches, options);
  const double rate = learning_rate(std::as_const(m.optim));

  index_t started = 0;
  p.batches.at_draw = [&](index_t step) {
    if (step % block != 0) {
      return;
    }
    for (std::size_t l = 0; l < 3; ++l) {
      reference[l].merge();
      const auto& adapted_layer = run.adapters.layers()[l];
      if (adapted_layer.attached) {
        const table A = p.read(adapted_layer.parameters.A);
        const table B = p.read(adapted_layer.parameters.B);
        reference[l].start(which == drawn::A ? A : table(A.rows, A.cols),
                           which == drawn::B ? B : table(B.rows, B.cols), keep_state);
        ++started;
      }
    }
  };
  for (index_t k = 0; k < last_step; ++k) {
    CAPTURE(k);
    run.step();
    for (std::size_t l = 0; l < 3; ++l) {
      CAPTURE(l);
      reference_layer& x = reference[l];
      if (x.attached) {
        move(x, p.data.gradient(l, x.whole(), regression_data::batch(k)),
             rate * falling(k, last_step), update);
        const auto& now = run.adapters.layers()[l].parameters;
        CHECK(gap(p.read(now.A), x.A) < 1e-10);
        CHECK(gap(p.read(now.B), x.B) < 1e-10);
      }
      CHECK(gap(p.net.weights()[l], x.W) < 1e-10);
    }
  }
  CHECK(started == 4 * chosen);
  run.finish();
  for (std::size_t l = 0; l < 3; ++l) {
    reference[l].merge();
    CHECK(gap(p.net.weights()[l], reference[l].W) < 1e-10);
  }
  // It was a task with something to learn.
  const auto all = regression_data::everything();
  std::vector<table> before;
  for (const auto& one : p.data.layers) {
    before.push_back(one.W);
  }
  CHECK(p.data.loss(p.net.weights(), all) < 0.95 * p.data.loss(before, all));
}

constexpr double weight_decay = 0.05;

// AdamW on one factor.
void adamw(table& x, reference_adam& adam, const table& g, double rate) {
  x = (1 - rate * weight_decay) * x - rate * adam.direction(g);
}
const auto adamw_a = [](reference_layer& x, const factor_gradients& g, double rate) {
  adamw(x.A, x.adam_a, g.A, rate);
};
const auto adamw_b = [](reference_layer& x, const factor_gradients& g, double rate) {
  adamw(x.B, x.adam_b, g.B, rate);
};
const auto adamw_both = [](reference_layer& x, const factor_gradients& g, double rate) {
  adamw_a(x, g, rate);
  adamw_b(x, g, rate);
};

const optim::adamw with_decay{.lr = 0.05, .weight_decay = weight_decay};
const chain::merge_every merging{.period = block};

}  // namespace

TEST_CASE("xgblora by reference: AdamW on two of three layers") {
  check(xgblora{.optim = with_decay, .chain = {.period = block, .layers = 2}}, 2, drawn::A,
        adamw_both);
}

TEST_CASE("xgblora by reference: the penalty λ(‖A‖² + ‖B‖²) is Adam's decay of 2λ") {
  const double penalty = 0.3;
  check(with<xgblora, optim::adam>{.optim = {.lr = 0.05, .weight_decay = 2 * penalty},
                                   .chain = {.period = block}},
        3, drawn::A, [&](reference_layer& x, const factor_gradients& g, double rate) {
          x.A = x.A - rate * x.adam_a.direction(g.A + 2 * penalty * x.A);
          x.B = x.B - rate * x.adam_b.direction(g.B + 2 * penalty * x.B);
        });
}

TEST_CASE("cola by reference: AdamW on both factors") {
  check(cola{.optim = with_decay, .chain = merging}, 3, drawn::A, adamw_both);
}

TEST_CASE("rac_lora by reference: AdamW on the factor that is not drawn") {
  check(rac_lora_adamw{.optim = with_decay, .chain = merging}, 3, drawn::A, adamw_b);
  check(with<rac_lora_adamw, adapter::asymmetric<parameter_role::A>>{.optim = with_decay,
                                                                     .chain = merging},
        3, drawn::B, adamw_a);
}

TEST_CASE("rac_lora by reference: SGD preconditioned by the drawn factor") {
  const auto b = [](reference_layer& x, const factor_gradients& g, double rate) {
    x.B = x.B - rate * (g.B * inverse(x.A * transposed(x.A)));
  };
  check(rac_lora{.init = {.row_norm = 1.7}, .optim = {.base = {.lr = 0.1}}, .chain = merging}, 3,
        drawn::A, b);
  check(
      with<rac_lora, init::gaussian>{
          .init = {.sigma = 0.02}, .optim = {.base = {.lr = 0.1}}, .chain = merging},
      3, drawn::A, b);
  check(
      with<rac_lora, adapter::asymmetric<parameter_role::A>>{
          .init = {.row_norm = 0.6}, .optim = {.base = {.lr = 0.1}}, .chain = merging},
      3, drawn::B, [](reference_layer& x, const factor_gradients& g, double rate) {
        x.A = x.A - rate * (inverse(transposed(x.B) * x.B) * g.A);
      });
}

TEST_CASE("cola by reference: SGD scaled by both factors, damped") {
  const double delta = 0.02;
  check(with<cola, optim::scaled<>>{.optim = {.base = {.lr = 0.05}, .delta = delta},
                                    .chain = merging},
        3, drawn::A, [&](reference_layer& x, const factor_gradients& g, double rate) {
          const table damping = delta * identity(x.A.rows);
          const table A = x.A - rate * (inverse(transposed(x.B) * x.B + damping) * g.A);
          x.B = x.B - rate * (g.B * inverse(x.A * transposed(x.A) + damping));
          x.A = A;
        });
}

TEST_CASE("rac_lora by reference: one AdamW over all blocks, as in the released code") {
  check(with<rac_lora_adamw, init::gaussian>{.init = {.sigma = 1},
                                             .optim = with_decay,
                                             .chain = {.period = block, .keep_state = true}},
        3, drawn::A, adamw_b);
}
