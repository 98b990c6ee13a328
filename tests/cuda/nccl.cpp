// The communicator of NCCL, on the doubles of it and of CUDA.
#include <doctest/doctest.h>

#include <preheat/cuda/backend.hpp>
#include <preheat/cuda/nccl.hpp>
#include <preheat/methods.hpp>

#include "double/control.hpp"
#include "shared_context.hpp"
#include "support/small_problem.hpp"

using namespace preheat;
using Be = conformance::cuda_in_shared_context<float>;

namespace {

// Two processes, of which this is the first; the other's single numbers are all 0.
struct first_of_two {
  static constexpr memory_kind reaches = memory_kind::host;
  int rank() const { return 0; }
  int size() const { return 2; }
  template <class T>
  void start_sum(std::span<T>) {
    FAIL("memory of the device goes through NCCL");
  }
  void wait() {}
  double sum(double x) { return x; }
  template <class T>
  void broadcast(std::span<T>, int) {}
  void barrier() {}
  void abort(const std::string&) {}
};

// Both have the whole batch.
struct same_batches {
  nn::minibatches<Be>& all;
  void load(const generator& stream, index_t step, nn::labelled_batch<Be>& batch) {
    all.load(stream, step, batch);
  }
  void load_shard(const generator& stream, index_t step, shard, nn::labelled_batch<Be>& batch) {
    all.load(stream, step, batch);
  }
};

}  // namespace

TEST_CASE(
    "nccl: sums start beside the stream's work, in its order, and the stream waits for them") {
  first_of_two host;
  Be be;
  comm::nccl devices(conformance::shared_context(), host);
  CHECK(devices.rank() == 0);
  CHECK(devices.size() == 2);
  CHECK(devices.sum(3) == 3);
  std::vector<float> numbers(1000);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = float(i);
  }
  auto x = be.zeros(1000, 1);
  auto y = be.zeros(1000, 1);
  be.upload(numbers, x);  // the sum must wait for it
  devices.start_sum(std::span<float>(x.data(), 1000));
  be.copy(transpose::no, y, y);
  devices.wait();
  be.copy(transpose::no, x, y);  // and this for the sum
  const std::vector<float> got = be.download(y);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    REQUIRE(got[i] == 2 * numbers[i]);
  }
}

TEST_CASE("nccl: a run of two processes that have the same batches is that of one") {
  const long calls = cuda_double::calls("ncclAllReduce");
  const lora m{.optim = {.lr = 1e-2}};
  fit_options options{.rank = 2, .steps = 6};
  conformance::problem<Be> one;
  const auto alone = fit(m, one.net, one.batches, options);

  first_of_two host;
  conformance::problem<Be> two;
  comm::nccl devices(conformance::shared_context(), host);
  options.processes = devices;
  const auto together = fit(m, two.net, same_batches{two.batches}, options);
  for (std::size_t k = 0; k < alone.losses.size(); ++k) {
    CHECK(together.losses[k] == alone.losses[k] / 2);  // the mean with the other's 0
  }
  for (std::size_t l = 0; l < alone.layers.size(); ++l) {
    CHECK(two.be.download(together.layers[l].parameters.A) ==
          one.be.download(alone.layers[l].parameters.A));
    CHECK(two.be.download(together.layers[l].parameters.B) ==
          one.be.download(alone.layers[l].parameters.B));
  }
  CHECK(cuda_double::calls("ncclAllReduce") - calls == 6 * 3);  // one per step and layer
}

TEST_CASE("nccl: each of its calls that fails is an exception, and leaves nothing behind") {
  first_of_two host;
  Be be;
  auto x = be.zeros(4, 1);
  const std::span<float> numbers(x.data(), 4);
  const long alive = cuda_double::alive();
  const auto use = [&] {
    comm::nccl devices(conformance::shared_context(), host);
    devices.broadcast(numbers, 0);
    devices.start_sum(numbers);
    devices.wait();
  };
  const long before = cuda_double::calls();
  use();
  const long calls = cuda_double::calls() - before;
  CHECK(calls == 11);
  for (long n = 1; n <= calls; ++n) {
    cuda_double::fail_call(n);
    CHECK_THROWS_AS(use(), cuda_error);
    CHECK(cuda_double::alive() == alive);
  }
  cuda_double::fail_call_of("ncclAllReduce", 1, ncclSystemError);
  try {
    use();
    FAIL("an ordered failure");
  } catch (const cuda_error& error) {
    CHECK(std::string(error.what())
              .starts_with("preheat: ncclAllReduce: unhandled system error (2), nccl.hpp:"));
    CHECK(error.code == ncclSystemError);
  }
}

TEST_CASE("nccl: memory of the host is refused by a backend on a device, and the other way round") {
  first_of_two host;
  conformance::problem<Be> p;
  const fit_options options{.rank = 2, .steps = 2, .processes = host};
  CHECK_THROWS_WITH_AS(
      fit(lora{}, p.net, same_batches{p.batches}, options),
      "preheat: a backend on a device needs a communicator that reaches its memory: comm::nccl",
      invalid_argument);
}
