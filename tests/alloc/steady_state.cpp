// A step of any method allocates nothing once it runs steadily: steps 10 to 20 of `fit`.
// The tests also prove that they can see: every replaced function is tried, and a method that allocates on
// purpose must be caught.
#include "watch.hpp"

#include <malloc.h>

#include <cstdlib>
#include <vector>

namespace {

using namespace alloc;

template <class T>
nn::least_squares<watched_cpu<T>> matrix_problem(watched_cpu<T>& be, index_t m, index_t n) {
  using eigen_matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
  return {be, eigen_matrix::Random(m, n), eigen_matrix::Random(m, n)};
}

TEST_CASE("allocations: none in a step of any method") {
  using T = float;
  watched_cpu<T> be;
  const auto one = [&](const std::string& name, auto m, const fit_options& options = {}) {
    auto net = matrix_problem<T>(be, 40, 30);
    auto data = net.batches();
    check(name, count_steps(m, net, data, options));
  };
  using lora_sgd = method<optim::sgd>;
  one("lora, adamw", lora{});
  one("lora, adamw with amsgrad", lora{.optim = {.amsgrad = true}});
  one("lora, sgd", lora_sgd{});
  one("lora, sgd with momentum", lora_sgd{.optim = {.lr = 1e-4, .momentum = 0.9}});
  one("asymmetric, A trained", lora_train_a{});
  one("asymmetric, B trained", lora_train_b{});
  one("pissa", pissa{});
  one("hrp, after preheating", hrp<>{.optim = {.lr = 1e-4}});
  one("full", full_fine_tuning{});
  one("vera", vera{});
  one("lora, dropout", lora{}, {.dropout = 0.1});
  one("lora, two batches a step", lora{}, {.accumulate = 2});
  one("lora, clipping", lora{}, {.max_gradient_norm = 0.01});
  one("lora, cosine schedule", lora{}, {.schedule = schedule::cosine{.warmup = 3}});

  auto large = matrix_problem<T>(be, 600, 500);
  auto data = large.batches();
  check("lora, 600x500", count_steps(lora{}, large, data, {}), sizes::large);
}

// ------------------------------------------------------------------- the tests can see at all

void* volatile sink;  // keeps the compiler from removing an allocation

template <class F>
long seen_in(F f) {
  start_counting();
  f();
  return stop_counting().elsewhere;
}

TEST_CASE("allocations: each function that allocates is counted") {
  const auto one = [](const char* name, auto allocate) {
    CAPTURE(name);
    CHECK(seen_in(allocate) == 1);
    std::free(sink);
  };
  one("malloc", [] { sink = std::malloc(10); });
  one("calloc", [] { sink = std::calloc(2, 10); });
  one("realloc", [] { sink = std::realloc(nullptr, 10); });
  one("memalign", [] { sink = memalign(64, 128); });
  one("aligned_alloc", [] { sink = std::aligned_alloc(64, 128); });
  one("posix_memalign", [] {
    void* p = nullptr;
    sink = posix_memalign(&p, 64, 128) == 0 ? p : nullptr;
  });
  one("operator new", [] { sink = ::operator new(10); });
  one("operator new[]", [] { sink = ::operator new[](10); });
  one("aligned operator new", [] { sink = ::operator new(128, std::align_val_t(64)); });
  one("aligned operator new[]", [] { sink = ::operator new[](128, std::align_val_t(64)); });
  CHECK(seen_in([] {}) == 0);
}

// An optimizer that allocates a scratch vector in every step.
struct wasteful_sgd : optim::sgd {
  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    std::vector<double> scratch(16);
    sink = scratch.data();
    optim::sgd::step(be, p, gradient, st, context);
  }
};

TEST_CASE("allocations: an optimizer that allocates once a step is caught") {
  watched_cpu<float> be;
  auto net = matrix_problem<float>(be, 40, 30);
  auto data = net.batches();
  CHECK(count_steps(method<wasteful_sgd>{}, net, data, {}).elsewhere == 11);  // in eleven steps
}

}  // namespace
