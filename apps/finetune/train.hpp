// One run of a method. Included only where methods are instantiated.
#pragma once
#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <preheat/convert/plain_lora.hpp>

#include "methods.hpp"

namespace apps::finetune {

template <class Method>
constexpr outcome_kind outcome_of() {
  using adapter = typename Method::adapter_type;
  if constexpr (!adapter::has_factors || Method::chain_type::merges) {
    return outcome_kind::weights;
  } else if constexpr (Method::init_type::product == preheat::initial_product::new_base) {
    return outcome_kind::weights;
  } else {
    return Method::leaves_base ? outcome_kind::adapter : outcome_kind::product;
  }
}

// LoRA-Pro's moments are those of W; an init that learns from the data holds the factors that it trains, or
// a matrix of W's size for every layer.
template <class Method>
method_memory memory_of(const Method& m) {
  method_memory memory;
  if constexpr (!Method::adapter_type::has_factors) {
    memory = {.pairs = 0, .matrices = 4};
  } else if constexpr (requires { m.init.preheating; }) {
    memory.start_pairs = 4;
    memory.start_rank = double(m.init.multiple);
  } else if constexpr (preheat::calibrates<typename Method::init_type, Be>) {
    memory.start_matrices = 1;
  }
  if constexpr (requires { Method::optim_type::memory(index_t(), index_t(), index_t()); }) {
    memory.matrices = double(Method::optim_type::memory(1, 1, 0));  // 3·m·n of LoRA-Pro
  }
  return memory;
}

// Whether the trained numbers in a saved state are finite. (Others need not be: the best validation loss
// before the first one is infinite.)
inline bool has_finite_parameters(const preheat::training_state& state) {
  return std::all_of(state.entries.begin(), state.entries.end(), [](const auto& entry) {
    const auto& values = entry.second.values;
    const std::string_view name = entry.first;
    return !(name.starts_with("layers/") || name.starts_with("head/parameters/")) ||
           std::all_of(values.begin(), values.end(), [](double x) { return std::isfinite(x); });
  });
}

// The factors that a run started from, as entries of its state.
inline void transfer_start(std::vector<preheat::factors<Be>>& start, network& net,
                           preheat::training_state& state,
                           preheat::archive<Be>::direction direction) {
  preheat::archive<Be> ar(net.backend(), state, direction);
  for (std::size_t i = 0; i < start.size(); ++i) {
    ar.under("start/" + std::to_string(i), [&] {
      ar("A", start[i].A);
      ar("B", start[i].B);
    });
  }
}

// Adds a layer's A and B to a report of plain LoRA.
template <class Layer>
void add_plain(adapter_report<preheat::adapter::lora>& plain, const Layer& l, double scaling,
               preheat::factors<Be> f) {
  const index_t rank = f.A.rows();
  plain.layers.push_back({.index = l.index,
                          .name = l.name,
                          .rank = rank,
                          .scaling = scaling,
                          .attached = true,
                          .parameters = {std::move(f.A), std::move(f.B)}});
}

// A and B of every layer that has an adapter, as a report of plain LoRA.
template <class Adapter>
any_adapter plain_report(const preheat::fit_report<Be, Adapter>& report, network& net) {
  adapter_report<preheat::adapter::lora> plain;
  for (const auto& l : report.layers) {
    if (l.attached) {
      auto f = report.adapter.product(net.backend(), l.parameters);
      preheat::require_no_core(f);
      add_plain(plain, l, l.scaling, {std::move(f.A), std::move(f.B)});
    }
  }
  return plain;
}

// The same on the original base, after the product of the start was taken out of it.
template <class Adapter>
any_adapter plain_report(const preheat::fit_report<Be, Adapter>& report, network& net,
                         const std::vector<preheat::factors<Be>>& start) {
  adapter_report<preheat::adapter::lora> plain;
  auto all = preheat::to_plain_lora(net.backend(), report, start);
  for (std::size_t i = 0; i < all.size(); ++i) {
    add_plain(plain, report.layers[i], all[i].scaling, std::move(all[i].f));
  }
  return plain;
}

// Whether a report is of a kind that `any_adapter` holds as it is.
template <class Adapter>
inline constexpr bool is_kept = std::is_same_v<Adapter, preheat::adapter::lora> ||
                                std::is_same_v<Adapter, preheat::adapter::dora> ||
                                std::is_same_v<Adapter, preheat::adapter::lora_bias>;
// Asymmetric LoRA is LoRA to PEFT, and nothing is lost.
template <class Adapter>
inline constexpr bool is_low_rank = false;
template <bool A, bool B>
inline constexpr bool is_low_rank<preheat::adapter::low_rank<A, B>> = true;

// W −= s·B·A in every layer, with the product of the start that a saved state has: what a residual init
// has done to the base.
inline void subtract_start(const std::vector<preheat::factors<Be>>& start, network& net,
                           const std::vector<index_t>& targets,
                           const preheat::training_state& state) {
  for (std::size_t i = 0; i < targets.size(); ++i) {
    auto& layer = net.layers()[std::size_t(targets[i])];
    const auto& s = state.entries.at("layers/" + layer.name + "/scaling");
    net.backend().gemm(-preheat::scalar_of<Be>(s.values.at(0)), preheat::transpose::no, start[i].B,
                       preheat::transpose::no, start[i].A, 1, layer.W);
  }
}

template <class Method>
trained train(Method m, const training_job& job) {
  using adapter = typename Method::adapter_type;
  using direction = preheat::archive<Be>::direction;
  constexpr outcome_kind kind = outcome_of<Method>();
  preheat::learning_rate(m.optim) = job.rate;
  std::vector<preheat::factors<Be>> start;
  preheat::fit_options options = job.options;
  // What a residual init has done to W is done again from its factors, and is not kept.
  options.checkpoint_base = !(kind == outcome_kind::product && is_low_rank<adapter>);
  // Hands a state on, with what the run started from where the result needs it.
  const auto keep_by = [&](const auto& keep, auto&& state) {
    if constexpr (kind == outcome_kind::product) {
      preheat::training_state whole = std::forward<decltype(state)>(state);
      transfer_start(start, *job.net, whole, direction::save);
      keep(whole);
    } else {
      keep(state);
    }
  };
  // A state is kept once it has proved good: when the next step has found a finite loss.
  std::optional<preheat::training_state> unproved;
  options.checkpoint = [&](const preheat::training_state& state) { unproved = state; };
  const auto keep = [&](std::optional<preheat::training_state>&& state) {
    if (job.keep && state && has_finite_parameters(*state)) {
      keep_by(job.keep, std::move(*state));
    }
  };
  const auto make = [&] {
    return preheat::start_run(m, *job.net, *job.data, options, *job.validation);
  };
  const auto begin = [&](auto& run) {
    if constexpr (kind == outcome_kind::product) {
      if (options.resume != nullptr) {
        preheat::training_state saved = *options.resume;
        const bool changed = !start.empty();  // in this process
        start.resize(run.targets().size());
        transfer_start(start, *job.net, saved, direction::load);
        if (!changed && !options.checkpoint_base) {
          subtract_start(start, *job.net, run.targets(), saved);
        }
      } else if (!run.done()) {
        start = preheat::factors_of(run);
      }
    }
  };
  auto run = make();
  begin(run);
  // Inputs have been looked at, unless the method does so in every step.
  if constexpr (computes_on_gpu && !preheat::any_has_hook<preheat::hook::observe_input, Method>) {
    if (!job.net->classifies()) {
      job.data->round_lengths_within(job.net->most_tokens());
    }
  }
  if (job.only_start) {
    trained result;
    if constexpr (std::is_same_v<adapter, preheat::adapter::lora> &&
                  kind != outcome_kind::weights) {
      result.adapter = run.finish();
    }
    return result;
  }
  while (!run.done()) {
    std::optional<preheat::training_state> before = std::exchange(unproved, std::nullopt);
    const index_t steps = run.steps_done();
    run.step();
    if (run.steps_done() > steps) {
      keep(std::move(before));
    }
    if (job.keep_best && job.is_best()) {
      keep_by(job.keep_best, run.state());
    }
  }
  auto report = run.finish();
  if (report.status != preheat::fit_status::non_finite) {
    keep(std::move(unproved));
  }

  trained result;
  result.status = report.status;
  result.losses = report.losses;
  result.trainable_parameters = report.trainable_parameters;
  result.calibration_steps = report.calibration_steps;
  // The parameters of a saved state instead of those at the end.
  const auto go_back = [&](const std::optional<preheat::training_state>& state) {
    options.resume = &*state;
    options.checkpoint = nullptr;
    auto again = make();
    begin(again);
    report = again.finish();
  };
  if (result.status == preheat::fit_status::non_finite) {
    const std::optional<preheat::training_state> good = job.last ? job.last() : std::nullopt;
    if (!good) {
      result.nothing_finite = true;
      return result;
    }
    go_back(good);
  } else if (result.status != preheat::fit_status::interrupted && job.best) {
    if (const std::optional<preheat::training_state> best = job.best()) {
      go_back(best);
    }
  }
  result.steps = report.steps;
  if (result.status == preheat::fit_status::interrupted) {
    return result;
  }
  if constexpr (kind == outcome_kind::weights) {
    preheat::merge(*job.net, report);
  } else if constexpr (kind == outcome_kind::product) {
    result.adapter = plain_report(report, *job.net, start);
    result.converted = !is_low_rank<adapter>;
  } else if constexpr (is_kept<adapter>) {
    result.adapter = std::move(report);
  } else {
    result.adapter = plain_report(report, *job.net);
    result.converted = !is_low_rank<adapter>;
  }
  return result;
}

}  // namespace apps::finetune
