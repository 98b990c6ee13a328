// What every composition of an init and a method must do in a whole run.
#pragma once
#include <preheat/methods.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/toy_task.hpp"

namespace conformance {

using namespace preheat;

// The inits of the matrix: drawn; preheated by SGD on A; preheated by LoRA; preheated, then drawn.
using drawn = init::orthogonal;
using preheated = init::hrp<>;
using preheated_by_lora = init::hrp<method<>>;
using preheated_once = init::first_then<init::hrp<>, init::orthogonal>;

constexpr index_t composition_steps = 30;
constexpr index_t preheating_steps = 3;

// The same settings of an init in every method.
template <class Init>
Init composed_init() {
  if constexpr (requires(Init i) { i.first; }) {
    return {.first = composed_init<decltype(Init::first)>()};
  } else if constexpr (learns_from_data<Init>) {
    return {.multiple = 4, .steps = preheating_steps, .lr = 0.05};
  } else {
    return {};
  }
}

// The steps charged to a run of composition_steps whose adapters start anew every `period` steps (0:
// never), by counting: a chain goes on as long as it can pay.
template <class Init>
index_t calibration_charged(index_t period) {
  if (!learns_from_data<Init>) {
    return 0;
  }
  index_t charged = preheating_steps;
  if (period > 0 && learns_from_data<std::remove_cvref_t<decltype(restart_init(Init{}))>>) {
    for (index_t done = period; done + charged + preheating_steps < composition_steps;
         done += period) {
      charged += preheating_steps;
    }
  }
  return charged;
}

template <class Init>
inline constexpr const char* name_of = "drawn";
template <>
inline constexpr const char* name_of<preheated> = "preheated";
template <>
inline constexpr const char* name_of<preheated_by_lora> = "preheated by LoRA";
template <>
inline constexpr const char* name_of<preheated_once> = "preheated once";

// Runs a method and checks it; gives the losses of its steps.
template <class Method, class... Validation>
std::vector<double> check_composition(toy_task<cpu_double>& task, Method m, index_t period,
                                      const Validation&... validation) {
  using Be = cpu_double;
  using Init = typename Method::init_type;
  m.init = composed_init<Init>();
  const fit_options options{.rank = 3, .steps = composition_steps, .seed = 8};
  const table before = task.base_output();
  const std::vector<table> weights = task.weights();
  const double loss_before = task.base_loss();

  auto run = start_run(m, task.net, task.data, options, validation...);
  CHECK(same(read<Be>(task.be, task.net.forward(task.all.X, run.adapters)), before));
  const auto report = run.run_to_end();
  CHECK(report.status == fit_status::completed);
  CHECK(report.calibration_steps == calibration_charged<Init>(period));
  CHECK(report.base_changed == !Method::leaves_base);
  auto linear = attach(task.net, report);
  const double loss_after = double(task.net.loss(task.all, linear));
  CHECK(loss_after < 0.9 * loss_before);
  CHECK(std::isfinite(loss_after));
  const std::vector<table> weights_after = task.weights();
  bool equal = true;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    equal = equal && same(weights[i], weights_after[i]);
  }
  CHECK(equal == Method::leaves_base);
  return report.losses;
}

// The method with each of these inits; settings(m) chooses its numbers. `period` is that of a chain.
// Gives the losses of each.
template <class Method, class... Inits, class F>
std::vector<std::vector<double>> check_inits(F settings, index_t period = 0) {
  const auto one = [&](auto m, const char* name) {
    CAPTURE(std::string(name));
    toy_task<cpu_double> task;
    settings(m);
    if constexpr (std::same_as<typename Method::rank_type, rank::ablation>) {
      return check_composition(task, m, period, task.validation);
    } else {
      return check_composition(task, m, period);
    }
  };
  return {one(with<Method, Inits>{}, name_of<Inits>)...};
}

// All inits of the matrix. A start that is preheated once is the preheated one to the end of the
// first block, and to the end of the run without a chain.
template <class Method, class F>
void check_matrix(F settings, index_t period = 0) {
  const auto losses =
      check_inits<Method, drawn, preheated, preheated_by_lora, preheated_once>(settings, period);
  REQUIRE(losses.size() == 4);
  CHECK(losses[0] != losses[1]);
  CHECK(losses[1] != losses[2]);
  const auto& always = losses[1];
  const auto& once = losses[3];
  const std::size_t block = period > 0 ? std::size_t(period) : always.size();
  REQUIRE(always.size() >= block);
  CHECK(std::equal(always.begin(), always.begin() + std::ptrdiff_t(block), once.begin()));
  CHECK((always == once) == (period == 0));
}

}  // namespace conformance
