// What a training run returns: plain data without references, so that it outlives the network, the
// data and the backend.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "../operators/adapted.hpp"

namespace preheat {

enum class fit_status {
  completed,
  stopped_early,  // no improvement of the validation loss for `patience` evaluations
  non_finite,     // a loss was NaN or infinite; the parameters are those before that step
  interrupted     // options.stop was set
};
inline const char* to_string(fit_status s) {
  switch (s) {
    case fit_status::completed:
      return "completed";
    case fit_status::stopped_early:
      return "stopped early";
    case fit_status::non_finite:
      return "non-finite loss";
    case fit_status::interrupted:
      break;
  }
  return "interrupted";
}

// One adapted layer at the end of a run.
template <class Params>
struct layer_report {
  index_t index = 0;  // in the network
  std::string name;
  index_t rank = 0;  // 0 for adapters without factors, and for layers without an adapter
  double scaling = 1;
  bool clamped = false;   // the rank in the options was above min(out, in) and was cut
  bool attached = false;  // false: merged into W by a chain, or without ranks
  Params parameters;
};

struct evaluation {
  index_t step = 0;
  double loss = 0;
  template <class Archive>
  void archive(Archive& ar) {
    ar("step", step);
    ar("loss", loss);
  }
};

template <backend Be, class Adapter>
struct fit_report {
  using backend_type = Be;
  using adapter_type = Adapter;
  using params = typename Adapter::template params<Be>;

  fit_status status = fit_status::completed;
  index_t steps = 0;                 // optimizer steps of the main run
  index_t calibration_steps = 0;     // steps charged for gathering calibration (HRP's preheating)
  index_t trainable_parameters = 0;  // of the adapters, at the first step
  index_t head_parameters = 0;       // of the trained head, whose values are in the network
  index_t validation_passes = 0;     // forward passes on the validation batch
  double seconds = 0;
  std::vector<double> losses;          // one per step
  std::vector<double> learning_rates;  // one per step
  std::vector<evaluation> evaluations;
  std::vector<layer_report<params>> layers;
  bool base_changed = false;  // W was changed during the run (residual init, chain)
  Adapter adapter{};
};

namespace detail {
// Out of line, where the run of every method would compile how a vector grows.
template <class = void>  // (core/error.hpp says why)
[[gnu::noinline]] void append(std::vector<double>& numbers, double further) {
  numbers.push_back(further);
}
}  // namespace detail

// The network's operator with the trained adapters attached, for evaluation or for another loop.
template <network Net, class Adapter>
adapted<typename Net::backend_type, Adapter> attach(
    Net& net, const fit_report<typename Net::backend_type, Adapter>& report) {
  adapted<typename Net::backend_type, Adapter> linear(net, report.adapter);
  for (const auto& l : report.layers) {
    if (l.attached) {
      linear.attach(l.index, clone_params(net.backend(), l.parameters),
                    scalar_of<typename Net::backend_type>(l.scaling));
    }
  }
  return linear;
}

// W += ΔW in every adapted layer of the network, so that the base alone gives the adapted output.
// It must be called only once.
template <network Net, class Adapter>
[[gnu::cold]] void merge(Net& net, const fit_report<typename Net::backend_type, Adapter>& report) {
  auto layers = net.layers();
  for (const auto& l : report.layers) {
    if (l.attached) {
      auto& frozen = layers[l.index];
      merge_into(report.adapter, net.backend(), l.parameters,
                 scalar_of<typename Net::backend_type>(l.scaling),
                 view_of<typename Net::backend_type>(frozen.W),
                 view_of<typename Net::backend_type>(frozen.b));
    }
  }
}

}  // namespace preheat
