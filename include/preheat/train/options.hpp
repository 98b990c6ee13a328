// The settings of a training run, for every method alike. Settings of a policy (learning rate,
// momentum, preheating rank …) live in the policy.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "../adapter/scaling.hpp"
#include "../core/archive.hpp"
#include "../core/communicator.hpp"
#include "schedule.hpp"

namespace preheat {

// What an observer is told after every step.
struct progress {
  const char* phase = "training";  // or "preheating"
  index_t step = 0;                // steps done in this phase
  index_t steps = 0;               // steps this phase will take
  double loss = 0;                 // mean training loss of the step's batches
  double learning_rate = 0;        // that the step used, before factors by role
  double seconds = 0;              // since the phase began
  double eta_seconds = 0;          // until the phase ends, at the same pace
};

struct fit_options {
  index_t rank = 8;
  index_t steps = 100;  // in all: gathering evidence (HRP's preheating) is charged to them
  std::uint64_t seed = 0;
  scaling_rule scaling{};  // default s = α/r_layer with α = 2·rank

  // Which layers get an adapter. Empty: all. An entry is a whole name, a suffix after a dot ("fc1"
  // means "encoder.fc1" too), or a pattern with * for any characters.
  std::vector<std::string> targets{};
  bool clamp_rank = false;  // a rank above min(out, in) of a layer is cut instead of refused

  std::function<double(index_t step, index_t total)> schedule = schedule::constant{};
  double max_gradient_norm = 0;  // of the whole network's gradient; 0: no clipping
  index_t accumulate = 1;        // batches averaged in a step
  double dropout = 0;            // on the adapter's input
  // Learning rate of the trained head of a network that has one; empty: the method's. [our]
  std::optional<double> head_rate{};

  // Loss on the validation batch every so many steps (0: never); stop after `patience` evaluations
  // in a row without an improvement of more than `min_improvement` (0: never).
  index_t evaluate_every = 0;
  index_t patience = 0;
  double min_improvement = 0;

  std::function<void(const progress&)> observer{};  // called after every step
  const std::atomic<bool>* stop = nullptr;  // set it, from a signal handler too, to end early

  // The state of the run every so many steps (0: only at the end or when stopped), and where to go
  // on from. A resumed run ends with the same bits as one that was never stopped.
  index_t checkpoint_every = 0;
  std::function<void(const training_state&)> checkpoint{};
  const training_state* resume = nullptr;

  bool charge_evidence = true;          // false: evidence costs no steps (for experiments only)
  std::vector<double> layer_scaling{};  // s of every layer of the network, instead of `scaling`
  const char* phase = "training";       // what `progress` is told

  // Who trains together: a communicator, the same settings and network in every process. Each draws
  // its share of every batch; the result is that of one process alone, to rounding. Process 0 alone
  // is observed and writes checkpoints, and all end when `stop` is set in one.
  process_group processes{};
};

// The same settings as this process follows them.
inline fit_options for_this_process(fit_options options) {
  if (!options.processes.first()) {
    options.observer = nullptr;
    options.checkpoint = nullptr;
  }
  return options;
}

// Whether somebody wants the run to end. All processes ask together.
inline bool stop_requested(const fit_options& options) {
  return options.processes.any(options.stop != nullptr && options.stop->load());
}

namespace detail {
// Shell-like: * stands for any characters, everything else for itself.
inline bool matches_pattern(const char* name, const char* pattern) {
  if (*pattern == '\0') {
    return *name == '\0';
  }
  if (*pattern == '*') {
    return matches_pattern(name, pattern + 1) ||
           (*name != '\0' && matches_pattern(name + 1, pattern));
  }
  return *name == *pattern && matches_pattern(name + 1, pattern + 1);
}
}  // namespace detail

// Whether a layer's name is meant by one of the targets; an empty list means every layer.
inline bool matches_target(const std::string& name, const std::vector<std::string>& targets) {
  for (const std::string& target : targets) {
    const bool suffix = name.size() > target.size() && name.ends_with(target) &&
                        name[name.size() - target.size() - 1] == '.';
    if (suffix || detail::matches_pattern(name.c_str(), target.c_str())) {
      return true;
    }
  }
  return targets.empty();
}

}  // namespace preheat
