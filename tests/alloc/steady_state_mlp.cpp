// A step of a multilayer perceptron allocates nothing once it runs steadily, whatever the sizes of
// the batches: steps 10 to 20 of `fit`.
#include <preheat/comm/self.hpp>

#include "watch.hpp"

namespace {

using namespace alloc;

// 50 tokens in batches of `size`: an epoch ends with a smaller batch unless the size divides 50.
template <class T>
nn::minibatches<watched_cpu<T>> digits(watched_cpu<T>& be, index_t size) {
  const generator gen(5);
  std::vector<T> labels(50);
  for (std::size_t j = 0; j < labels.size(); ++j) {
    labels[j] = T(j % 10);
  }
  cpu_matrix<T> target = be.zeros(1, 50);
  be.upload(labels, target);
  return {be, linalg::normal(be, 24, 50, 1, gen), std::move(target), size};
}

// The first of two processes; the other has nothing but zeros.
struct first_of_two : comm::self {
  int size() const { return 2; }
};

// An mlp on minibatches of several sizes; the last batch of an epoch may be smaller.
TEST_CASE_TEMPLATE("allocations: none in a step of a multilayer perceptron", T, float, double) {
  watched_cpu<T> be;
  nn::labelled_batch<watched_cpu<T>> all;
  digits<T>(be, 0).load(generator(), 0, all);
  const auto one = [&](const std::string& name, auto m, index_t size, const fit_options& options,
                       const auto&... validation) {
    nn::mlp<watched_cpu<T>> net(be, {24, 48, 32, 10}, 1);
    auto data = digits<T>(be, size);
    check("mlp, " + name, count_steps(m, net, data, options, validation...));
  };
  one("lora, all 50 tokens", lora{}, 0, {});
  one("lora, batches of 10", lora{}, 10, {});
  one("lora, batches of 16, 16, 16, 2", lora{}, 16, {});
  one("lora, one layer", lora{}, 16, {.targets = {"layers.1"}});
  if constexpr (std::is_same_v<T, float>) {
    one("hrp, batches of 16", hrp<>{}, 16, {});
    one("full, batches of 16", full_fine_tuning{}, 16, {});
  }
  one("lora, evaluated every 5 steps", lora{}, 16, {.evaluate_every = 5}, all);
  one("lora, everything at once", lora{}, 7,
      {.max_gradient_norm = 0.1, .accumulate = 2, .dropout = 0.1, .evaluate_every = 5}, all);
  first_of_two other;
  one("lora, batches shared with a process", lora{}, 16, {.processes = other});
}

TEST_CASE("allocations: none in a step on two threads that share out everything") {
  watched_cpu<float> be(2, {.multiplications = 1, .entries = 1, .unit = 1});
  nn::mlp<watched_cpu<float>> net(be, {24, 48, 32, 10}, 1);
  auto data = digits<float>(be, 16);
  check("mlp, lora, two threads", count_steps(lora{}, net, data, fit_options{}));
}

}  // namespace
