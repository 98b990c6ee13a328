// What a training run returns: plain data that refers to nothing, so it outlives network, data and
// backend settings.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "adapted.hpp"

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
  bool clamped = false;   // the rank asked for was above min(out, in) and was cut
  bool attached = false;  // false: folded into W by a chain, or without ranks: nothing to merge
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
  index_t evidence_steps = 0;        // steps charged for gathering evidence (HRP's preheating)
  index_t trainable_parameters = 0;  // of the adapters, at the first step
  index_t head_parameters = 0;       // of the network's trained head, which keeps them
  index_t validation_passes = 0;     // forward passes on the validation batch
  double seconds = 0;
  std::vector<double> losses;          // one a step
  std::vector<double> learning_rates;  // one a step
  std::vector<evaluation> evaluations;
  std::vector<layer_report<params>> layers;
  bool base_changed = false;  // W was changed during the run (residual init, chain)
  Adapter adapter{};
};

// The network's operator with the trained adapters, for evaluation or another loop.
template <network Net, class Adapter>
adapted<typename Net::backend_type, Adapter> attach(
    Net& net, const fit_report<typename Net::backend_type, Adapter>& report) {
  adapted<typename Net::backend_type, Adapter> lin(net, report.adapter);
  for (const auto& l : report.layers) {
    if (l.attached) {
      lin.attach(l.index, clone_params(net.backend(), l.parameters),
                 scalar_of<typename Net::backend_type>(l.scaling));
    }
  }
  return lin;
}

// W += ΔW in every adapted layer of the network: afterwards the base alone gives the adapted
// output. Call it once.
template <network Net, class Adapter>
void merge(Net& net, const fit_report<typename Net::backend_type, Adapter>& report) {
  auto layers = net.layers();
  for (const auto& l : report.layers) {
    if (l.attached) {
      auto& frozen = layers[std::size_t(l.index)];
      report.adapter.merge(
          net.backend(), l.parameters, scalar_of<typename Net::backend_type>(l.scaling),
          out<typename Net::backend_type>(frozen.W), out<typename Net::backend_type>(frozen.b));
    }
  }
}

}  // namespace preheat
