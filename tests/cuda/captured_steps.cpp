// Steps as graphs: the same bits as call by call, whatever changes between them, in few calls.
#include <doctest/doctest.h>

#include <preheat/cuda/mixed.hpp>
#include <preheat/methods.hpp>
#include <preheat/nn/decoder.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/storage/store_weights.hpp>
#include <preheat/train/fit.hpp>

#include "double/control.hpp"
#include "support/small_decoder.hpp"
#include "support/table.hpp"

using namespace conformance;
using namespace preheat;

namespace {

std::shared_ptr<const cuda_context> context_that_captures(bool captures) {
  return std::make_shared<const cuda_context>(cuda_options{.capture_steps = captures});
}

// Texts whose words and, with several shapes, lengths change from step to step.
struct changing_texts {
  std::vector<std::vector<index_t>> shapes;
  template <class Be>
  void load(const generator&, index_t step, nn::causal_batch<Be>& to) const {
    to = {{}, {}, shapes[std::size_t(step) % shapes.size()]};
    for (const index_t length : to.lengths) {
      for (index_t t = 0; t < length; ++t) {
        to.ids.push_back((t * t + step + length) % 11);
      }
    }
    to.labels = to.ids;
  }
};

template <class Be>
auto small_network(Be& be) {
  nn::decoder_config c = small_llama();
  c.blocks = 2;
  auto net = small_decoder(be, c);
  if constexpr (rounds_activations<Be>) {
    storage::store_weights(net, weight_storage::bf16);
  }
  return net;
}

struct outcome {
  std::vector<double> losses;
  std::vector<std::vector<float>> factors;
  cuda_step_report report;
  bool operator==(const outcome& other) const {
    return losses == other.losses && factors == other.factors;
  }
};
template <class Be, class Method>
outcome trained(bool captures, const Method& m, const changing_texts& data, fit_options options) {
  Be be(context_that_captures(captures));
  auto net = small_network(be);
  const auto report = fit(m, net, data, options);
  outcome all{report.losses, {}, be.captured()};
  for (const auto& layer : report.layers) {
    all.factors.push_back(be.download(layer.parameters.A));
    all.factors.push_back(be.download(layer.parameters.B));
  }
  return all;
}

fit_options scheduled(index_t steps) {
  fit_options options{.rank = 2, .steps = steps};
  options.schedule = schedule::cosine{};
  options.max_gradient_norm = 0.1;
  return options;
}

}  // namespace

TEST_CASE_TEMPLATE("captured steps: a decoder's run has the same bits, with schedule and clipping",
                   Be, cuda<float>, cuda_mixed<float, cuda_bf16>) {
  const lora m{.optim = {.lr = 0.02}};
  const changing_texts one{{{6, 6}}};
  const outcome plain = trained<Be>(false, m, one, scheduled(12));
  const outcome captured = trained<Be>(true, m, one, scheduled(12));
  CHECK(plain == captured);
  CHECK(plain.report.observed + plain.report.captured + plain.report.repeated == 0);
  CHECK(captured.report.repeated >= 8);
  CHECK(captured.report.refused.empty());

  const changing_texts several{{{6, 6}, {3, 5}, {4}}};
  const outcome changing = trained<Be>(true, m, several, scheduled(24));
  CHECK(trained<Be>(false, m, several, scheduled(24)) == changing);
  CHECK(changing.report.captured >= 3);
  CHECK(changing.report.repeated >= 8);
}

TEST_CASE("captured steps: what forbids them is said, and the numbers stay") {
  using Be = cuda<float>;
  fit_options options = scheduled(24);
  options.dropout = 0.2;
  const changing_texts data{{{6, 6}}};
  const outcome captured = trained<Be>(true, lora{}, data, options);
  CHECK(trained<Be>(false, lora{}, data, options) == captured);
  CHECK(captured.report.repeated == 0);
  CHECK(captured.report.refused.find("every step makes other calls") == 0);
  CHECK(captured.report.refused.find("call ") != std::string::npos);
}

TEST_CASE("captured steps: merging, new factors and accumulation between them") {
  using Be = cuda<float>;
  const changing_texts data{{{6, 6}}};
  fit_options options = scheduled(20);
  options.accumulate = 2;
  const method<chain::merge_every> m{.chain = {.period = 7}};
  const outcome captured = trained<Be>(true, m, data, options);
  CHECK(trained<Be>(false, m, data, options) == captured);
  CHECK(captured.report.repeated >= 8);
}

namespace {

struct work {
  long all, waits, allocations, launches, kernels;
};
work now() {
  return {cuda_double::calls(),
          cuda_double::calls("cudaStreamSynchronize") + cuda_double::calls("cudaEventSynchronize"),
          cuda_double::calls("cudaMallocAsync"), cuda_double::calls("cudaGraphLaunch"),
          cuda_double::calls("kernel")};
}
work work_of_captured_step(index_t blocks) {
  cuda<float> be(context_that_captures(true));
  nn::decoder_config c = small_llama();
  c.blocks = blocks;
  auto net = small_decoder(be, c);
  changing_texts data{{{6, 6, 6}}};
  auto run = start_run(lora{}, net, data, scheduled(8));
  for (int k = 0; k < 5; ++k) {
    run.step();
  }
  REQUIRE(be.captured().repeated >= 1);
  const work before = now();
  run.step();
  const work after = now();
  return {after.all - before.all, after.waits - before.waits,
          after.allocations - before.allocations, after.launches - before.launches,
          after.kernels - before.kernels};
}

}  // namespace

TEST_CASE("captured steps: calls of a step") {
  const work two = work_of_captured_step(2);
  const work four = work_of_captured_step(4);
  MESSAGE("calls of a captured step: ", two.all, " with two blocks, ", four.all, " with four");
  for (const work& w : {two, four}) {
    CHECK(w.launches == 2);  // the forward pass with the head, and the backward pass
    CHECK(w.waits == 1);     // for the loss
    CHECK(w.allocations == 0);
  }
  // The batch; the norm, its factor and the clipping; the optimizer: the same kernels for all layers of a few blocks.
  CHECK(two.kernels <= 6);
  CHECK(two.all ==
        two.kernels + 5);  // besides: the graphs, the loss's copy and event, and the wait for it
  CHECK(four.all <= two.all + 1);
}

TEST_CASE("captured steps: buffers that move, other numbers and errors in between") {
  using Be = cuda<float>;
  Be be(context_that_captures(true));
  auto x = be.zeros(5, 1);
  auto y = be.zeros(5, 1);
  float factor = 2;
  std::vector<float> numbers(5, 1);
  const auto step = [&] {
    be.upload(numbers, x);
    be.apply(linalg::axpby<float>{factor, 0}, y, x);  // y = factor·x
  };
  const auto is = [&](float value) {
    be.repeat(step);
    return be.download(y) == std::vector<float>(5, value);
  };
  CHECK(is(2));
  CHECK(is(2));
  CHECK(be.captured().captured == 1);
  numbers.assign(5, 3);  // a graph takes the numbers of its step
  CHECK(is(6));
  CHECK(be.captured().repeated == 1);
  y = be.zeros(5, 1);  // the buffer of the graph is gone
  CHECK(is(6));
  CHECK(be.captured().observed == 2);
  factor = 4;  // an argument of a kernel differs after a call that was left out
  CHECK(is(12));
  CHECK(be.captured().observed == 3);
  CHECK(is(12));
  CHECK(is(12));
  CHECK(be.captured().repeated == 2);

  // A step that reads a result has a graph before it and one after it.
  const auto with_result = [&] {
    be.apply(linalg::scale<float>{2}, y);
    const float sum = be.dot(y, y);
    be.fill(sum > 1 ? 1.0F : 2.0F, y);
  };
  for (int k = 0; k < 4; ++k) {
    be.repeat(with_result);
    CHECK(be.download(y) == std::vector<float>(5, 1));
  }
  be.fill(0, y);  // which is then another step
  be.repeat(with_result);
  CHECK(be.download(y) == std::vector<float>(5, 2));

  for (int k = 0; k < 3; ++k) {
    CHECK_THROWS_AS(be.repeat([&] {
      be.apply(linalg::scale<float>{2}, y);
      auto gone = be.zeros(3, 1);
      throw std::runtime_error("a network's");
    }),
                    std::runtime_error);
  }
  CHECK(is(12));
  CHECK(cuda_double::violations().empty());
}

TEST_CASE("captured steps: errors of CUDA are those of the call, and nothing stays captured") {
  for (const char* name : {"cudaStreamBeginCapture", "cudaStreamEndCapture",
                           "cudaGraphInstantiateWithFlags", "cudaGraphLaunch"}) {
    CAPTURE(std::string(name));
    cuda<float> be(context_that_captures(true));
    auto y = be.zeros(5, 1);
    const auto step = [&] { be.apply(linalg::axpby<float>{0, 2}, y, y); };
    be.repeat(step);
    cuda_double::fail_call_of(name, 1, 1);
    CHECK_THROWS_AS(be.repeat(step), cuda_error);
    be.repeat(step);
    be.repeat(step);
    be.fill(3, y);
    CHECK(be.download(y) == std::vector<float>(5, 3));
  }
}
