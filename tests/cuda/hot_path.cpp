// The step of an adapted layer neither waits nor allocates; what a step of a decoder asks of the device, counted.
#include <doctest/doctest.h>

#include <cmath>
#include <preheat/adapter/lora.hpp>
#include <preheat/cuda/adapted_linear.hpp>
#include <preheat/cuda/mixed.hpp>
#include <preheat/methods.hpp>
#include <preheat/nn/bert.hpp>
#include <preheat/nn/decoder.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/optim/adam.hpp>
#include <preheat/storage/store_weights.hpp>
#include <preheat/train/fit.hpp>

#include "double/control.hpp"
#include "support/small_decoder.hpp"
#include "support/small_encoder.hpp"
#include "support/table.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr index_t out_size = 70;
constexpr index_t in_size = 40;
constexpr index_t few = 3;
constexpr index_t tokens = 17;

}  // namespace

TEST_CASE("hot path: a step neither allocates nor waits nor copies") {
  using Be = cuda<float>;
  Be be;
  const auto random = [&](index_t m, index_t n) { return matrix(be, random_table(m, n, 7)); };
  cuda_adapted_linear<float, __nv_bfloat16> layer(
      be, random(out_size, in_size), random(few, in_size), random(out_size, few), 1, tokens);
  auto dY = random(out_size, tokens);
  auto m = be.zeros(few, in_size);
  auto v = be.zeros(few, in_size);
  be.context()->synchronize();
  const auto waits = [] {
    return cuda_double::calls("cudaMallocAsync") + cuda_double::calls("cudaStreamSynchronize") +
           cuda_double::calls("cudaMemcpy2DAsync") + cuda_double::calls("cudaMemcpyAsync");
  };
  const long before = waits();
  const long all_before = cuda_double::calls();
  for (int step = 0; step < 3; ++step) {
    layer.forward();
    layer.backward(dY);
    be.apply(optim::adam_kernel<float>{.update_moments = {0.9F, 0.99F},
                                       .epsilon = 1e-8F,
                                       .rate = 0.1F,
                                       .correction = 1,
                                       .keep = 1,
                                       .decay = 0},
             layer.A(), m, v, layer.gradient_A());
    layer.refresh();
  }
  CHECK(waits() == before);
  CHECK(cuda_double::calls() == all_before + 3 * (6 + 2 + 1 + 2));
}

TEST_CASE("hot path: the plain adapter's step, too, neither allocates nor waits once it has run") {
  using Be = cuda<double>;
  Be be;
  const auto random = [&](index_t m, index_t n) { return matrix(be, random_table(m, n, 8)); };
  auto W = random(out_size, in_size);
  auto X = random(in_size, tokens);
  auto Y = be.zeros(out_size, tokens);
  auto dX = be.zeros(in_size, tokens);
  const adapter::lora adapter;
  const frozen_linear<Be> base{W, {}, 1};
  adapter::lora::params<Be> p{random(few, in_size), random(out_size, few)};
  adapter::lora::params<Be> g{be.zeros(few, in_size), be.zeros(out_size, few)};
  adapter::lora::saved_activations<Be> saved_activations;
  const layer_input<Be> x{X, X};
  const auto step = [&] {
    adapter.forward(be, p, base, x, Y, saved_activations);
    adapter.backward(be, p, base, x, Y, g, input_gradient<Be>{dX, dX}, saved_activations);
  };
  step();
  const long before =
      cuda_double::calls("cudaMallocAsync") + cuda_double::calls("cudaStreamSynchronize");
  step();
  CHECK(cuda_double::calls("cudaMallocAsync") + cuda_double::calls("cudaStreamSynchronize") ==
        before);
}

namespace {

using matrices = std::vector<cuda_matrix<float>>;

// Passes of three kernels, some of which depend on others, over matrices with and without gaps.
void passes(cuda<float>& be, matrices& x) {
  for (std::size_t k = 0; k < x.size(); ++k) {
    be.apply(linalg::axpby<float>{2, 1}, x[k], x[(k + 1) % x.size()]);  // x_k += 2·x_{k+1}
  }
  for (int again = 0; again < 2; ++again) {
    for (auto& m : x) {
      be.apply(linalg::scale<float>{0.5F}, m);
    }
  }
  auto gone = be.zeros(x[0].rows(), x[0].cols());  // its memory is freed while passes are held
  be.apply(linalg::axpby<float>{1, 0}, gone, x[0]);
  be.apply(linalg::axpby<float>{1, 1}, x[1], gone);
  be.fill(3, x[2]);
}

}  // namespace

TEST_CASE("collected passes: in the order of the calls, in few launches") {
  cuda<float> be;
  const auto fresh = [&](index_t rows) {
    matrices x;
    for (std::uint64_t k = 0; k < 60; ++k) {
      x.push_back(matrix(be, random_table(rows, 3, k)));
    }
    return x;
  };
  for (const index_t rows : {1, 6, 150}) {
    matrices one_by_one = fresh(rows);
    matrices together = fresh(rows);
    passes(be, one_by_one);
    be.collect([&] { passes(be, together); });
    for (std::size_t k = 0; k < together.size(); ++k) {
      CHECK(same(read<cuda<float>>(be, together[k]), read<cuda<float>>(be, one_by_one[k])));
    }
  }
  matrices x = fresh(4);
  be.context()->synchronize();
  const long before = cuda_double::calls();
  be.collect([&] {
    for (auto& m : x) {
      be.apply(linalg::scale<float>{2}, m);
    }
  });
  CHECK(cuda_double::calls() - before <= 2);
  CHECK(cuda_double::calls() - before >= 1);

  // Blocks of one matrix beside or below each other are different matrices; others of it are not.
  const auto M = std::make_shared<cuda_matrix<float>>(be.zeros(6, 5));
  const auto held_of = [&](index_t i, index_t j) {
    const long at_first = cuda_double::calls();
    be.collect([&] {
      be.apply(linalg::scale<float>{2}, view<float>(*M).block(0, 0, 3, 4));
      be.apply(linalg::scale<float>{2}, view<float>(*M).block(i, j, 3, 1));
    });
    return cuda_double::calls() - at_first;
  };
  CHECK(held_of(3, 0) == 1);
  CHECK(held_of(3, 1) == 1);
  CHECK(held_of(1, 4) == 1);
  CHECK(held_of(2, 0) == 2);
  CHECK(held_of(0, 3) == 2);

  // What a result needs is given before it; an error leaves nothing held and nothing collected.
  be.collect([&] {
    be.fill(2, x[0]);
    CHECK(be.dot(x[0], x[0]) == 4 * float(x[0].rows() * x[0].cols()));
  });
  CHECK_THROWS_AS(be.collect([&] {
    be.fill(5, x[0]);
    throw std::runtime_error("a policy's");
  }),
                  std::runtime_error);
  CHECK(!be.context()->collects());
  CHECK(be.max_abs(x[0]) == 5);
}

namespace {

struct same_text {
  std::vector<index_t> lengths;
  template <class Be>
  void load(const generator&, index_t, nn::causal_batch<Be>& to) const {
    to = {{}, {}, lengths};
    for (const index_t length : lengths) {
      for (index_t t = 0; t < length; ++t) {
        to.ids.push_back((t * t + length) % 11);
      }
    }
    to.labels = to.ids;
  }
};
struct work {
  long all, waits, allocations, waits_for_loss, pending;
};
// A later step of LoRA on all layers of a network.
template <class Net, class Data>
work work_of_step_of(Net& net, Data& data, double clipping = 0) {
  auto run = start_run(lora{}, net, data, {.rank = 2, .steps = 6, .max_gradient_norm = clipping});
  run.step();
  run.step();
  const auto now = [] {
    return work{cuda_double::calls(), cuda_double::calls("cudaStreamSynchronize"),
                cuda_double::calls("cudaMallocAsync") + cuda_double::calls("cudaHostAlloc"),
                cuda_double::calls("cudaEventSynchronize"), cuda_double::pending()};
  };
  const work before = now();
  run.step();
  const work after = now();
  return {after.all - before.all, after.waits - before.waits,
          after.allocations - before.allocations, after.waits_for_loss - before.waits_for_loss,
          after.pending};
}
std::shared_ptr<const cuda_context> context_of(bool run_ahead, bool capture_steps) {
  return std::make_shared<const cuda_context>(
      cuda_options{.capture_steps = capture_steps, .run_ahead = run_ahead});
}
// The same of a small Llama.
template <class Be = cuda<float>>
work work_of_step(index_t blocks, std::vector<index_t> lengths, double clipping = 0,
                  bool run_ahead = true) {
  Be be(context_of(run_ahead, false));
  nn::decoder_config c = small_llama();
  c.blocks = blocks;
  auto net = small_decoder(be, c);
  if constexpr (rounds_activations<Be>) {
    storage::store_weights(net, weight_storage::bf16);
  }
  same_text data{std::move(lengths)};
  return work_of_step_of(net, data, clipping);
}

}  // namespace

TEST_CASE("a decoder's step: calls a layer, whatever the heads and sequences; it waits once") {
  const work two = work_of_step(2, {6, 6, 6});
  const work four = work_of_step(4, {6, 6, 6});
  const long of_layer = (four.all - two.all) / 2;
  MESSAGE("calls a layer and step: ", of_layer, ", besides: ", two.all - 2 * of_layer);
  CHECK(of_layer <= 42);  // of which the seven adapted layers' products are 24
  CHECK(work_of_step(2, {6, 6, 6, 6, 6, 6}).all == two.all);
  const work clipped = work_of_step(2, {6, 6, 6}, 0.1);
  CHECK(clipped.all <= two.all + 4);  // norm, factor, and the factor's passes over 30 matrices
  for (const work& w : {two, four, clipped}) {
    CHECK(w.waits == 0);
    CHECK(w.waits_for_loss == 1);
    CHECK(w.allocations == 0);
  }
}

TEST_CASE(
    "a decoder's step in bf16: no call a layer more, no wait and no allocation but the loss's") {
  using Be = cuda_mixed<float, cuda_bf16>;
  const work two = work_of_step<Be>(2, {6, 6, 6});
  const work four = work_of_step<Be>(4, {6, 6, 6});
  const long of_layer = (four.all - two.all) / 2;
  MESSAGE("calls a layer and step: ", of_layer, ", besides: ", two.all - 2 * of_layer);
  CHECK(of_layer <= 42);
  CHECK(work_of_step<Be>(2, {6, 6, 6, 6, 6, 6}).all == two.all);
  for (const work& w : {two, four}) {
    CHECK(w.waits == 0);
    CHECK(w.waits_for_loss == 1);
    CHECK(w.allocations == 0);
  }
}

namespace {

struct outcome {
  fit_status status;
  std::vector<double> losses;
  std::vector<std::vector<float>> factors;
  bool operator==(const outcome&) const = default;
};
outcome run_of_decoder(double rate, fit_options options, bool run_ahead = true,
                       bool capture_steps = false) {
  const long before = cuda_double::pending();  // of others
  cuda<float> be(context_of(run_ahead, capture_steps));
  auto net = small_decoder(be, small_llama());
  same_text data{{6, 4}};
  auto run = start_run(lora{.optim = {.lr = rate}}, net, data, options);
  const auto report = run.run_to_end();
  CHECK(cuda_double::pending() == before);  // the run's time and its errors are the device's
  outcome all{report.status, report.losses, {}};
  for (const auto& layer : report.layers) {
    all.factors.push_back(be.download(layer.parameters.A));
    all.factors.push_back(be.download(layer.parameters.B));
  }
  return all;
}

}  // namespace

TEST_CASE("a decoder's step waits for its forward pass: the rest is on its way behind the host") {
  const work ahead = work_of_step(2, {6, 6, 6}, 0.1);
  const work behind = work_of_step(2, {6, 6, 6}, 0.1, false);
  CHECK(behind.waits == 1);
  CHECK(behind.waits_for_loss == 0);
  CHECK(ahead.all == behind.all + 1);  // an event, which is recorded
  if (cuda_double::default_schedule() == cuda_double::schedule::lazy) {
    CHECK(behind.pending >= 3);                          // clipping and the optimizer
    CHECK(ahead.pending >= behind.pending + 2 * 2 * 7);  // and the products of the backward pass
  }
}

TEST_CASE(
    "a decoder's run has the same bits whatever the host waits for, and NaN ends it in time") {
  fit_options options{.rank = 2, .steps = 8};
  options.max_gradient_norm = 0.1;
  options.accumulate = 2;
  fit_options unclipped{.rank = 2, .steps = 8};
  for (const bool captures : {false, true}) {
    CAPTURE(captures);
    const outcome ahead = run_of_decoder(0.02, options, true, captures);
    CHECK(ahead.status == fit_status::completed);
    CHECK(ahead.losses.size() == 8);
    CHECK(ahead == run_of_decoder(0.02, options, false, captures));

    const outcome ended = run_of_decoder(1e19, unclipped, true, captures);
    CHECK(ended.status == fit_status::non_finite);
    CHECK(ended.losses.size() >= 1);
    CHECK(ended.losses.size() < 8);
    CHECK(ended == run_of_decoder(1e19, unclipped, false, captures));
    // The parameters are those from before the step whose loss was NaN.
    fit_options shorter = unclipped;
    shorter.steps = index_t(ended.losses.size());
    CHECK(run_of_decoder(1e19, shorter, true, captures).factors == ended.factors);
  }
}

namespace {

struct same_classes {
  cuda<float>* be;
  nn::token_batch<cuda<float>>* batch;
  void load(const generator&, index_t, nn::token_batch<cuda<float>>& to) const {
    to.ids = batch->ids;
    to.types = batch->types;
    to.lengths = batch->lengths;
    be->resize(to.target, 1, batch->target.cols());
    be->copy(transpose::no, batch->target, to.target);
  }
};
// f(network, batches) of a perceptron, and of an encoder with a head for classes.
template <class F>
void on_classifiers(cuda<float>& be, F f) {
  using Be = cuda<float>;
  table labels(1, 12);
  for (index_t j = 0; j < labels.cols; ++j) {
    labels(0, j) = double(j % 3);
  }
  nn::mlp<Be> perceptron(be, {5, 7, 3}, 4);
  nn::minibatches<Be> rows(be, matrix(be, random_table(5, 12, 5)), matrix(be, labels), 4);
  f(perceptron, rows);
  auto encoder = small_encoder<nn::bert<Be>>(be);
  auto batch = small_batch(be);
  const same_classes texts{&be, &batch};
  f(encoder, texts);
}

}  // namespace

TEST_CASE("the step of a perceptron or an encoder waits for its forward pass alone") {
  std::vector<work> ahead;
  std::vector<std::vector<double>> losses;
  for (const bool run_ahead : {true, false}) {
    CAPTURE(run_ahead);
    cuda<float> be(context_of(run_ahead, false));
    std::size_t k = 0;
    on_classifiers(be, [&](auto& net, auto& data) {
      CAPTURE(k);
      const work w = work_of_step_of(net, data);
      const auto found = fit(lora{}, net, data, {.rank = 2, .steps = 5}).losses;
      CHECK(w.allocations == 0);
      CHECK(w.waits == (run_ahead ? 0 : 1));
      CHECK(w.waits_for_loss == (run_ahead ? 1 : 0));
      if (run_ahead) {
        ahead.push_back(w);
        losses.push_back(found);
        return;
      }
      CHECK(found == losses[k]);
      CHECK(w.all == ahead[k].all - 1);
      if (cuda_double::default_schedule() == cuda_double::schedule::lazy) {
        CHECK(ahead[k].pending > w.pending + 2);  // products of the backward pass
      }
      ++k;
    });
  }
}

TEST_CASE("a wrong label of a perceptron is named when its loss arrives, and NaN is a loss") {
  using Be = cuda<float>;
  Be be;
  nn::mlp<Be> net(be, {5, 7, 3}, 4);
  base_operator<Be> linear(net);
  const auto loss_of = [&](double label, double input) {
    table labels(1, 2);
    labels(0, 1) = label;
    table X(5, 2);
    X(2, 1) = input;
    return net.loss_and_gradient({matrix(be, X), matrix(be, labels)}, linear);
  };
  CHECK(loss_of(2, 1) > 0);
  CHECK_THROWS_WITH_AS(loss_of(3, 1), "preheat: 0 <= label < classes (3, 3)", invalid_argument);
  CHECK_THROWS_WITH_AS(loss_of(-1, 1), "preheat: 0 <= label < classes (-1, 3)", invalid_argument);
  CHECK(std::isnan(loss_of(2, std::nan(""))));
  CHECK(loss_of(2, 1) > 0);
}

TEST_CASE("a number on its way to the host: as it was when it was sent, whatever fails") {
  using Be = cuda<double>;
  for (const bool run_ahead : {true, false}) {
    CAPTURE(run_ahead);
    Be be(context_of(run_ahead, false));
    Be::sent_number number;
    CHECK_THROWS_AS(be.receive(number), invalid_argument);
    auto x = be.zeros(1, 1);
    auto pair = be.zeros(2, 1);
    CHECK_THROWS_AS(be.send(pair, number), invalid_argument);
    for (const double value : {3.0, 4.0}) {
      be.fill(value, x);
      be.send(x, number);
      be.fill(-1, pair);  // asked for later
      CHECK(be.receive(number) == value);
      CHECK_THROWS_AS(be.receive(number), invalid_argument);
    }
    if (run_ahead) {
      be.fill(5, x);
      be.send(x, number);
      be.fill(6, x);
      CHECK(be.receive(number) == 5);
      // One that nobody receives arrives before its memory on the host is freed.
      const long before = cuda_double::pending();
      {
        Be::sent_number unread;
        be.fill(7, x);
        be.send(x, unread);
      }
      CHECK(cuda_double::pending() <= before);
    }
  }
}
