// What a run reports and when it ends: the observer, evaluations, early stopping, interruption; and
// where it goes on: exact resume.
#include <preheat/methods.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/train/fit.hpp>

#include <atomic>
#include <optional>

#include "support/backends.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using Be = cpu_double;
using task_type = toy_task<Be>;

fit_options settings(index_t steps) {
  return {.rank = 2, .steps = steps, .seed = 13};
}

}  // namespace

TEST_CASE("fit: the observer is told every step") {
  task_type task;
  std::vector<training_progress> seen;
  fit_options options = settings(8);
  options.schedule = schedule::cosine{.warmup = 2};
  options.observer = [&](const training_progress& p) { seen.push_back(p); };
  const auto report = fit(lora{.optim = {.lr = 1e-2}}, task.net, task.data, options);
  REQUIRE(seen.size() == 8);
  for (std::size_t k = 0; k < 8; ++k) {
    CHECK(std::string(seen[k].phase) == "training");
    CHECK(seen[k].step == index_t(k) + 1);
    CHECK(seen[k].steps == 8);
    CHECK(seen[k].loss == report.losses[k]);
    CHECK(seen[k].learning_rate == report.learning_rates[k]);
    CHECK(seen[k].learning_rate == 1e-2 * schedule::cosine{.warmup = 2}(index_t(k), 8));
    CHECK(seen[k].seconds >= 0);
    const double left = seen[k].seconds / double(k + 1) * double(7 - k);
    CHECK(seen[k].eta_seconds == doctest::Approx(left));
    CHECK(!seen[k].validation_loss);
  }
  CHECK(seen[7].eta_seconds == 0);
}

TEST_CASE("fit: evaluations come every k steps and are the loss on the validation batch") {
  task_type task;
  fit_options options = settings(10);
  options.evaluate_every = 5;
  std::vector<evaluation> observed;
  options.observer = [&](const training_progress& p) {
    if (p.validation_loss) {
      observed.push_back({p.step, *p.validation_loss});
    }
  };
  const auto report =
      fit(lora{.optim = {.lr = 1e-2}}, task.net, task.data, options, task.validation);
  REQUIRE(report.evaluations.size() == 2);
  CHECK(report.evaluations[0].step == 5);
  CHECK(report.evaluations[1].step == 10);
  REQUIRE(observed.size() == 2);
  for (std::size_t k = 0; k < 2; ++k) {
    CHECK(observed[k].step == report.evaluations[k].step);
    CHECK(observed[k].loss == report.evaluations[k].loss);
  }
  auto linear = attach(task.net, report);
  CHECK(report.evaluations[1].loss == double(task.net.loss(task.validation, linear)));
  // Evaluating does not disturb the run.
  task_type other;
  const auto plain = fit(lora{.optim = {.lr = 1e-2}}, other.net, other.data, settings(10));
  CHECK(same_results(task.be, plain, report));
}

TEST_CASE("fit: stops after `patience` evaluations without improvement") {
  task_type task;
  fit_options options = settings(40);
  options.evaluate_every = 2;
  options.patience = 3;
  options.min_improvement = 1e3;  // only the first evaluation is an improvement
  const auto report =
      fit(lora{.optim = {.lr = 1e-2}}, task.net, task.data, options, task.validation);
  CHECK(report.status == fit_status::stopped_early);
  CHECK(report.evaluations.size() == 4);
  CHECK(report.steps == 8);

  task_type patient;
  options.min_improvement = 0;
  options.patience = 0;
  const auto all =
      fit(lora{.optim = {.lr = 1e-2}}, patient.net, patient.data, options, patient.validation);
  CHECK(all.status == fit_status::completed);
  CHECK(all.steps == 40);
}

TEST_CASE("fit: the stop flag ends the run before its next step") {
  task_type task;
  std::atomic<bool> stop{false};
  int saved = 0;
  fit_options options = settings(20);
  options.stop = &stop;
  options.observer = [&](const training_progress& p) { stop = p.step == 6; };
  options.checkpoint = [&](const training_state&) { ++saved; };
  const auto report = fit(lora{.optim = {.lr = 1e-2}}, task.net, task.data, options);
  CHECK(report.status == fit_status::interrupted);
  CHECK(report.steps == 6);
  CHECK(report.losses.size() == 6);
  CHECK(saved == 1);
  // What was done so far is a whole run of six steps.
  task_type other;
  CHECK(same_results(task.be, report,
                     fit(lora{.optim = {.lr = 1e-2}}, other.net, other.data, settings(6))));
}

namespace {

// A run of 20 steps at once, against one that is saved at step 10 and goes on in a fresh network:
// the same bits in parameters, losses, rates, evaluations and, where the method changes them, W.
// The state is taken once from a run that goes on, once from one that is interrupted.
template <class Method>
void check_resume(const Method& m, bool with_dropout = false) {
  fit_options options = settings(20);
  options.schedule = schedule::cosine{.warmup = 3};
  options.dropout = with_dropout ? 0.2 : 0;
  options.accumulate = with_dropout ? 2 : 1;
  options.evaluate_every = 4;
  options.checkpoint_every = 10;

  task_type whole;
  std::vector<training_state> states;
  options.checkpoint = [&](const training_state& s) { states.push_back(s); };
  const auto expected = fit(m, whole.net, whole.data, options, whole.validation);
  REQUIRE(states.size() >= 2);

  task_type interrupted;
  std::atomic<bool> stop{false};
  std::optional<training_state> at_stop;
  fit_options until = options;
  until.checkpoint_every = 0;
  until.checkpoint = [&](const training_state& s) { at_stop = s; };
  until.stop = &stop;
  until.observer = [&](const training_progress& p) {
    stop = std::string(p.phase) == "training" && p.step == 10;
  };
  const auto half = fit(m, interrupted.net, interrupted.data, until, interrupted.validation);
  CHECK(half.status == fit_status::interrupted);
  REQUIRE(at_stop);

  options.checkpoint = nullptr;
  options.checkpoint_every = 0;
  for (const training_state* state : {&states.front(), &*at_stop}) {
    task_type fresh;
    options.resume = state;
    const auto resumed = fit(m, fresh.net, fresh.data, options, fresh.validation);
    CHECK(same_results(whole.be, expected, resumed));
    CHECK(resumed.trainable_parameters == expected.trainable_parameters);
    CHECK(resumed.base_changed == expected.base_changed);
    CHECK(resumed.status == fit_status::completed);
    CHECK(fresh.weights_are_those_of(whole));
    const auto same_evaluation = [](const evaluation& x, const evaluation& y) {
      return x.step == y.step && x.loss == y.loss;
    };
    CHECK(resumed.evaluations.size() == expected.evaluations.size());
    CHECK(std::equal(resumed.evaluations.begin(), resumed.evaluations.end(),
                     expected.evaluations.begin(), expected.evaluations.end(), same_evaluation));
  }
}

}  // namespace

TEST_CASE("resume: lora with adamw goes on to the same bits") {
  check_resume(lora{.optim = {.lr = 1e-2}});
  check_resume(lora{.optim = {.lr = 1e-2, .amsgrad = true}}, true);
}
TEST_CASE("resume: pissa goes on to the same bits and the same W") {
  check_resume(pissa{.optim = {.lr = 1e-2}});
}
TEST_CASE("resume: hrp goes on to the same bits") {
  hrp<> m{.optim = {.lr = 1e-2}};
  m.init.rank = 4;
  m.init.steps = 3;
  check_resume(m, true);
}
TEST_CASE("resume: sgd with momentum goes on to the same bits") {
  check_resume(method<optim::sgd>{.optim = {.lr = 0.05, .momentum = 0.9}});
  check_resume(method<optim::sgd>{.optim = {.lr = 0.05}}, true);
}
TEST_CASE("resume: full fine-tuning goes on to the same bits") {
  check_resume(full_fine_tuning{.optim = {.lr = 1e-2}});
}

TEST_CASE("resume: early stopping counts across the break") {
  fit_options options = settings(40);
  options.evaluate_every = 2;
  options.patience = 3;
  options.min_improvement = 1e3;
  options.checkpoint_every = 5;
  std::vector<training_state> states;
  options.checkpoint = [&](const training_state& s) { states.push_back(s); };
  const lora m{.optim = {.lr = 1e-2}};
  task_type task;
  const auto expected = fit(m, task.net, task.data, options, task.validation);
  REQUIRE(states.size() == 2);  // at step 5, and at the end
  options.checkpoint = nullptr;
  options.resume = &states.front();
  task_type fresh;
  const auto resumed = fit(m, fresh.net, fresh.data, options, fresh.validation);
  CHECK(resumed.status == fit_status::stopped_early);
  CHECK(same_results(task.be, expected, resumed));
}

TEST_CASE("resume: a state of another method or network is refused") {
  task_type task;
  std::optional<training_state> state;
  fit_options options = settings(2);
  options.checkpoint = [&](const training_state& s) { state = s; };
  fit(method<optim::sgd>{}, task.net, task.data, options);
  REQUIRE(state);
  options.resume = &*state;
  options.steps = 4;
  CHECK_THROWS_AS(fit(lora{}, task.net, task.data, options), invalid_argument);
  CHECK_THROWS_AS(fit(full_fine_tuning{}, task.net, task.data, options), invalid_argument);
}
