// The weights of networks in memory, kept in bf16 or NF4: an MLP trains on them as on the dense
// matrices of the same numbers.
#include <preheat/methods.hpp>
#include <preheat/storage/store_weights.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/refusal.hpp"
#include "support/stored.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

TEST_CASE_TEMPLATE("store_weights: an mlp on bf16 or NF4 is the mlp on the dense numbers", Be,
                   cpu_float, cpu_double) {
  for (const weight_storage keep : {weight_storage::bf16, weight_storage::nf4}) {
    toy_task<Be> task, dense;
    std::vector<table> expected;
    for (const auto& l : task.net.layers()) {
      expected.push_back(unpacked(storage::kept_as(keep, stored(read<Be>(task.be, l.W)))));
    }
    storage::store_weights(task.net, keep);
    storage::store_weights(task.net, keep);  // nothing is left to do
    for (std::size_t l = 0; l < expected.size(); ++l) {
      REQUIRE(task.net.layers()[l].W.is_stored());
      CHECK(same(unpacked(task.net.layers()[l].W.stored()), expected[l]));
      write<Be>(dense.be, expected[l], dense.net.layers()[l].W);
    }
    const fit_options options{.rank = 3, .steps = 12, .seed = 4};
    const auto a = fit(lora{.optim = {.lr = 0.02}}, task.net, task.data, options);
    const auto b = fit(lora{.optim = {.lr = 0.02}}, dense.net, dense.data, options);
    for (std::size_t k = 0; k < a.losses.size(); ++k) {
      CHECK(std::abs(a.losses[k] - b.losses[k]) < 1e4 * epsilon<Be>);
    }
    CHECK(a.losses.back() < a.losses.front());
  }
}

TEST_CASE("store_weights: what it cannot do is refused, and dense changes nothing") {
  toy_task<cpu_float> task;
  const auto before = task.weights();
  storage::store_weights(task.net, weight_storage::dense);
  CHECK(same(task.weights()[0], before[0]));
  CHECK(refusal([&] {
          storage::store_weights(task.net, weight_storage::as_stored);
        }).find("as_stored is for a file") != std::string::npos);
  toy_task<archetype_double> plain;
  CHECK(refusal([&] {
          storage::store_weights(plain.net, weight_storage::bf16);
        }).find("in its scalar only") != std::string::npos);
}
