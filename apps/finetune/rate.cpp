#include "rate.hpp"

#include <memory>
#include <variant>

#include <fmt/format.h>

#include <preheat/train/curvature.hpp>

namespace apps::finetune {

double curvature_of_start(material& m, const method_entry& method) {
  std::unique_ptr<network> changed;
  if (method.changes_base) {
    changed = std::make_unique<network>(m.model.net.copy());
  }
  network& net = changed ? *changed : m.model.net;
  start_head(m, net, m.o.seed);
  batches data(m.train, m.rows, m.o.batch);
  training_job job{.net = &net,
                   .data = &data,
                   .validation = &m.validation,
                   .options = fit_options_of(m, {&method, default_rate, m.o.seed}),
                   .rate = default_rate,
                   .only_start = true};
  job.options.evaluate_every = job.options.patience = 0;
  const trained start = method.train(job);
  using lora = adapter_report<preheat::adapter::lora>;
  const lora* const pair = start.adapter ? std::get_if<lora>(&*start.adapter) : nullptr;
  preheat::require(pair != nullptr,
                   "--rate auto: the curvature is that of a pair A, B on a base, and --method " +
                       method.id + " trains something else: name a rate");
  auto linear = attach(net, *pair);
  constexpr index_t iterations = 12;
  return preheat::curvature(net, linear, data, {.seed = m.o.seed, .iterations = iterations})
      .largest;
}

double suggested_rate(double here, double of_lora) {
  const double rate = preheat::suggest_rate({.rate = default_rate, .curvature = of_lora}, here);
  fmt::print(
      "rate {:.3g}: a guess, {:g} times the curvature of LoRA's start ({:.3g}) over this one's "
      "({:.3g}); a sweep around it finds the best\n",
      rate, default_rate, of_lora, here);
  return rate;
}

}  // namespace apps::finetune
