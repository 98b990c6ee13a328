// The end of a run and its state on the way: run::finish, and what a checkpoint keeps.
#pragma once
#include "run.hpp"

namespace preheat {

template <class Method, network Net, class Data, bool Validated>
typename run<Method, Net, Data, Validated>::report_type
run<Method, Net, Data, Validated>::finish() {
  save_checkpoint();
  if (result_.status != fit_status::non_finite) {  // a chain must not fold what has diverged
    all_hooks<hook::finish>();
  }
  result_.steps = step_;
  result_.evidence_steps = charged_;
  result_.adapter = method.adapter;
  result_.base_changed = result_.base_changed || chain_type::folds;
  for (const index_t l : targets_) {
    auto& s = lin.slots()[std::size_t(l)];
    result_.layers.push_back({.index = l,
                              .name = net.layers()[std::size_t(l)].name,
                              .rank = s.attached ? rank_of(l) : 0,
                              .scaling = double(s.scaling),
                              .clamped = clamped_[std::size_t(l)] != 0,
                              .attached = s.attached,
                              .parameters = {}});
    if (s.attached) {  // no conditional expression above: nvcc 13.0 crashes on it
      result_.layers.back().parameters = std::move(s.parameters);
    }
  }
  result_.seconds = std::chrono::duration<double>(clock::now() - begun_).count();
  return std::move(result_);
}

// Everything that the rest of the run depends on. W and b only where the method changes them.
template <class Method, network Net, class Data, bool Validated>
template <class Archive>
void run<Method, Net, Data, Validated>::transfer(Archive& ar) {
  index_t rank = options.rank;
  ar("options/rank", rank);
  require(rank == options.rank, "the rank of a resumed run is the saved one", options.rank, rank);
  ar("step", step_);
  ar("charged", charged_);
  ar("draws", draws_);
  ar("trainable", result_.trainable_parameters);
  ar("validation_passes", result_.validation_passes);
  ar("stopping", stopping_);
  ar("base_changed", result_.base_changed);
  ar("losses", result_.losses);
  ar("learning_rates", result_.learning_rates);
  ar("evaluations", result_.evaluations);
  bool early = result_.status == fit_status::stopped_early;  // such a run has nothing left to do
  ar("stopped_early", early);
  if (early) {
    result_.status = fit_status::stopped_early;
    finished_ = true;
  }
  ar("rank", rank_state);
  ar("chain", chain_state);
  ar("head", head);
  for (const index_t l : targets_) {
    auto& s = lin.slots()[std::size_t(l)];
    auto& frozen = net.layers()[std::size_t(l)];
    const std::string name = "layers/" + frozen.name + "/";
    bool attached = s.attached;
    double s_value = double(s.scaling);
    ar(name + "attached", attached);
    ar(name + "scaling", s_value);
    ar(name + "clamped", clamped_[std::size_t(l)]);
    if (attached) {
      ar(name + "parameters", s.parameters);
      if (ar.loading()) {
        place(l, s_value, std::move(s.parameters));
      }
      ar(name + "optim", optim[std::size_t(l)]);
    }
    ar(name + "starts", s.starts);
    if constexpr (!Method::leaves_base) {
      ar(name + "W", frozen.W);
      ar(name + "b", frozen.b);
    }
  }
}

}  // namespace preheat
