// HRP in a whole run: preheating is charged, it sees other batches than the main run, its options
// reach it, and no matrix of the size of a weight is ever made.
#include <preheat/methods.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using be_type = archetype_double;
using warm_classic = method<adapter::lora, init::kaiming, optim::adamw>;

// What an observer was told, phase by phase.
struct journal {
  std::vector<training_progress> preheating;
  std::vector<training_progress> training;
  std::function<void(const training_progress&)> observer() {
    return [this](const training_progress& p) {
      (std::string(p.phase) == "preheating" ? preheating : training).push_back(p);
    };
  }
};

}  // namespace

TEST_CASE("hrp: preheating is charged and announced") {
  toy_task<be_type> p;
  journal seen;
  fit_options options{.rank = 2, .steps = 12, .seed = 7};
  options.observer = seen.observer();
  options.schedule = schedule::linear{};
  const hrp<> m{.init = {.rank = 4, .steps = 5, .lr = 0.125}, .optim = {.lr = 0.01}};
  const auto report = fit(m, p.net, p.data, options);
  CHECK(report.status == fit_status::completed);
  CHECK(report.calibration_steps == 5);
  CHECK(report.steps == 7);
  CHECK(report.steps + report.calibration_steps == options.steps);
  REQUIRE(seen.preheating.size() == 5);
  REQUIRE(seen.training.size() == 7);
  // Preheating has its own constant rate; the main schedule spans what is left, from its start.
  for (const training_progress& one : seen.preheating) {
    CHECK(one.learning_rate == 0.125);
    CHECK(one.steps == 5);
  }
  for (std::size_t k = 0; k < 7; ++k) {
    CHECK(seen.training[k].learning_rate == doctest::Approx(0.01 * (1 - double(k) / 7)));
    CHECK(seen.training[k].steps == 7);
    CHECK(seen.training[k].loss == report.losses[k]);
  }
  // The trained parameters are those of the main rank.
  CHECK(report.trainable_parameters == 2 * (10 + 15 + 15 + 12 + 12 + 5));

  // For experiments, preheating may be free.
  toy_task<be_type> q;
  options.count_calibration_steps = false;
  const auto free = fit(m, q.net, q.data, options);
  CHECK(free.steps == 12);
  CHECK(free.calibration_steps == 0);
}

TEST_CASE("hrp: the preheating rate is the main run's unless it is given") {
  toy_task<be_type> p;
  journal seen;
  fit_options options{.rank = 2, .steps = 6, .seed = 7};
  options.observer = seen.observer();
  fit(hrp<>{.optim = {.lr = 0.03125}}, p.net, p.data, options);
  REQUIRE(seen.preheating.size() == 1);
  CHECK(seen.preheating[0].learning_rate == 0.03125);
}

TEST_CASE("hrp: no matrix of a weight's size is made in preheating or extraction or training") {
  toy_task<be_type> p;
  toy_task<be_type> untouched;
  const auto formed = [&] {
    return p.be.made(15, 10) || p.be.made(12, 15) || p.be.made(5, 12) || p.be.made(15, 15) ||
           p.be.made(12, 12);
  };
  CHECK(formed());  // the weights themselves: the record works
  p.be.forget();
  fit_options options{.rank = 2, .steps = 8, .seed = 8};
  options.dropout = 0.1;
  fit(hrp<>{.init = {.rank = 4, .steps = 3, .lr = 0.1}}, p.net, p.data, options);
  CHECK_FALSE(formed());
  fit(hrp<warm_classic>{.init = {.rank = 4, .steps = 3, .lr = 0.1}}, p.net, p.data, options);
  CHECK_FALSE(formed());
  CHECK(p.weights_are_those_of(untouched));
  // PiSSA, to compare, does form its factorization's U, of out×in here.
  fit(pissa{}, p.net, p.data, options);
  CHECK(formed());
}

// The rank of preheating is 16 times the main one, cut to what a layer holds.
TEST_CASE("hrp: the preheating rank is clamped to each layer") {
  toy_task<be_type> p;
  p.be.forget();
  const auto report = fit(hrp<>{.optim = {.lr = 0.01}}, p.net, p.data, {.rank = 4, .steps = 4});
  CHECK(report.status == fit_status::completed);
  CHECK(p.be.shapes.contains({10, 10}));  // A of the first layer at rank min(15, 10)
  for (const auto& l : report.layers) {
    CHECK(l.rank == 4);
    CHECK_FALSE(l.clamped);
  }
}

namespace {

// A data source that a user might write: it remembers which streams and steps were asked for.
struct recording {
  nn::minibatches<be_type>& data;
  std::vector<std::pair<std::uint64_t, index_t>> asked{};
  void load(const generator& stream, index_t step, nn::labelled_batch<be_type>& batch) {
    asked.emplace_back(stream.key(), step);
    data.load(stream, step, batch);
  }
};

}  // namespace

TEST_CASE("hrp: preheating has a stream of batches of its own") {
  toy_task<be_type> p;
  recording data{p.data};
  const hrp<> m{.init = {.rank = 4, .steps = 3}, .optim = {.lr = 0.01}};
  fit(m, p.net, data, {.rank = 2, .steps = 8, .seed = 9});
  REQUIRE(data.asked.size() == 8);
  for (std::size_t k = 0; k < 8; ++k) {
    const bool preheating = k < 3;
    CHECK(data.asked[k].second == index_t(preheating ? k : k - 3));
    CHECK((data.asked[k].first == data.asked[0].first) == preheating);
    CHECK((data.asked[k].first == data.asked[7].first) == !preheating);
  }
  // The main run's batches are those of a run without preheating.
  recording plain{p.data};
  fit(lora{}, p.net, plain, {.rank = 2, .steps = 1, .seed = 9});
  CHECK(plain.asked[0].first == data.asked[7].first);
}
