// The adapters of a training run: the linear operator through which the network computes its
// layers, with the parameters, the gradient and the optimizer state of every layer's adapter.
//
// A policy reads and changes parameters and gradients (layers()) and runs the network through this
// operator. Only the run starts, merges and resizes adapters.
#pragma once
#include <algorithm>
#include <iterator>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "../core/archive.hpp"
#include "../operators/adapted.hpp"
#include "gradient_all_reduce.hpp"
#include "gradients.hpp"
#include "options.hpp"
#include "report.hpp"
#include "start.hpp"

namespace preheat {

template <class Method, network Net, class Data, bool Validated>
class training_run;

template <class Method, network Net>
class training_adapters
    : private adapted<typename Net::backend_type, typename Method::adapter_type> {
 public:
  using Be = typename Net::backend_type;
  using adapter_type = typename Method::adapter_type;
  using optim_type = typename Method::optim_type;
  using operator_type = adapted<Be, adapter_type>;
  using params = typename adapter_type::template params<Be>;
  using optim_state = typename optim_type::template state<Be, params>;

  // --- what a policy may use: the linear operator, the layers' adapters, their optimizers' states
  using operator_type::backend;
  using operator_type::backward;
  using operator_type::base;
  using operator_type::begin;
  using operator_type::expect_pass;
  using operator_type::first_trained;
  using operator_type::forward;
  using operator_type::layers;
  using operator_type::zero_gradients;
  optim_state& optimizer(index_t l) { return optim_[l]; }

 private:
  template <class, network, class, bool>
  friend class training_run;

  [[gnu::cold]] training_adapters(const Method& m, Net& net, const fit_options& options)
      : operator_type(net, m.adapter, layer_products::joined),
        method_(m),
        net_(&net),
        options_(options),
        all_reduce_(net.backend(), options.processes, net.layers().size()),
        gen_(options.seed),
        targets_(layers_to_adapt<Method>(net, options.targets)),
        optim_(net.layers().size()),
        clamped_(net.layers().size()) {
    if (!options.processes.alone()) {
      this->gradient_final = [this](index_t l) { all_reduce_.start(l, layers()[l].gradient); };
    }
  }
  training_adapters(const training_adapters&) = delete;

  operator_type& linear() { return *this; }

  index_t rank_of(index_t l) const {
    return preheat::rank_of(method_.adapter, backend(), layers()[l].parameters);
  }
  index_t max_rank(index_t l) const {
    return std::min(net_->layers()[l].W.rows(), net_->layers()[l].W.cols());
  }

  // The rank and the scale s of each of these layers at a start; 0 and 1 in all others.
  [[gnu::cold]] start_plan plan(const std::vector<index_t>& chosen) {
    start_plan plan{chosen, std::vector<index_t>(net_->layers().size(), 0),
                    std::vector<double>(net_->layers().size(), 1)};
    for (const index_t l : chosen) {
      plan.ranks[l] = start_rank(l);
      plan.scalings[l] = start_scaling(options_, l, plan.ranks[l]);
    }
    return plan;
  }
  // Starts an adapter that takes no factors from an init in each of these layers.
  [[gnu::cold]] void start_without_init(const std::vector<index_t>& chosen) {
    for (const index_t l : chosen) {
      if constexpr (shares_factors<adapter_type, Be>) {
        install(l, 1, method_.adapter.start(backend(), base(l), shared(), adapter_stream(l)));
      } else if constexpr (starts_of_rank<adapter_type, Be>) {
        const index_t r = start_rank(l);
        install(l, start_scaling(options_, l, r),
                method_.adapter.start(backend(), base(l), r, adapter_stream(l)));
      } else {
        install(l, 1, method_.adapter.start(backend(), base(l), adapter_stream(l)));
      }
    }
    finish_start();
  }
  // Made from the seed at the first start, or when the run is resumed.
  const shared_pointer<adapter_type, Be>& shared() {
    if (shared_ == nullptr) {
      require(options_.layer_ranks.empty(), "shared factors have one rank: no layer_ranks");
      shared_ = shared_of<Be>(method_, backend(), net_->layers(), targets_, options_.rank, gen_);
    }
    return shared_;
  }
  // Starts an adapter in each layer of the plan from what the init returns for it: of(l, layer).
  template <class Init, class Of>
  [[gnu::cold]] void start(const Init&, const start_plan& plan, Of of) {
    for (const index_t l : plan.layers) {
      auto answer = of(l, target_layer_of(l, plan.ranks[l], plan.scalings[l]));
      require_start_shapes<Init>(net_->layers()[l], plan.ranks[l], answer);
      install_answer<Init>(l, plan.scalings[l], std::move(answer));
    }
    finish_start();
  }

  // Keeps the listed ranks of layer l and appends `added` new ones whose product B·A is zero.
  [[gnu::cold]] void select_ranks(index_t l, const std::vector<index_t>& keep, index_t added) {
    auto& s = layers()[l];
    const index_t kept = index_t(keep.size());
    require(s.attached, "select_ranks: the layer has an adapter");
    require(kept + added <= max_rank(l), "rank <= min(out, in)", kept + added, max_rank(l));
    ++s.starts;
    preheat::select_ranks(backend(), s.parameters, keep, added);
    preheat::select_ranks(backend(), s.gradient, keep, added);
    optim_[l].for_each_moment(
        [&](params& moment) { preheat::select_ranks(backend(), moment, keep, added); });
    if (kept + added == 0) {
      this->detach(l);
    }
    if (added > 0) {
      draw_ranks(l, kept, added);
    }
    count_trained();
  }
  void draw_ranks(index_t l, index_t kept, index_t added) {
    const auto& init = restart_init(method_.init);
    using init_type = std::remove_cvref_t<decltype(init)>;
    if constexpr (!calibrates<init_type, Be> && init_type::product == initial_product::zero) {
      auto& s = layers()[l];
      params fresh = method_.adapter.start(
          backend(), base(l), init(backend(), target_layer_of(l, added, double(s.scaling))),
          adapter_stream(l));
      ++starts_;
      copy_ranks(backend(), fresh, s.parameters, kept);
    } else {
      throw invalid_argument(
          "ranks added during training are drawn afresh: use an init of product zero that does not "
          "learn from the data (kaiming, gaussian, orthogonal), or init::first_then<this init, "
          "kaiming>");
    }
  }

  // Calls f(layer, context) for every layer that has an adapter, with the context of that layer.
  template <class F>
  void for_each_attached(step_context context, F f) {
    for (std::size_t l = 0; l < layers().size(); ++l) {
      if (layers()[l].attached) {
        context.layer = index_t(l);
        context.scaling = double(layers()[l].scaling);
        f(layers()[l], std::as_const(context));
      }
    }
  }
  void optimize(const step_context& context, const generator& of_step) {
    for_each_attached(context, [&](auto& s, step_context of_layer) {
      of_layer.gen = of_step.fork(purpose::step, std::uint64_t(of_layer.layer));
      method_.optim.step(backend(), s.parameters, s.gradient, optim_[of_layer.layer], of_layer);
    });
  }
  index_t trained_entries() const {
    return std::accumulate(std::begin(trained_.entries), std::end(trained_.entries), index_t(0));
  }

  // What a checkpoint keeps: the adapters, and W and b where the method changes them.
  template <class Archive>
  [[gnu::cold]] void archive(Archive& ar) {
    ar("starts", starts_);
    ar("base_changed", base_changed_);
    if constexpr (shares_factors<adapter_type, Be>) {
      archive_seed(ar, gen_.key());  // from which they are made again
    }
    for (const index_t l : targets_) {
      ar.under("layers/" + net_->layers()[l].name, [&] { archive_layer(ar, l); });
    }
    count_trained();
  }
  template <class Archive>
  [[gnu::cold]] void archive_layer(Archive& ar, index_t l) {
    auto& s = layers()[l];
    auto& frozen = net_->layers()[l];
    bool attached = s.attached;
    double s_value = double(s.scaling);
    ar("attached", attached);
    ar("scaling", s_value);
    ar("clamped", clamped_[l]);
    if (attached) {
      ar("parameters", s.parameters);
      if (ar.loading()) {
        if constexpr (shares_factors<adapter_type, Be>) {
          s.parameters.shared = shared();
        }
        install(l, s_value, std::move(s.parameters));
      }
      ar("optim", optim_[l]);
    }
    ar("starts", s.starts);
    if constexpr (!Method::leaves_base) {
      if (options_.checkpoint_base) {
        ar("W", static_cast<mat<Be>&>(frozen.W));
        ar("b", frozen.b);
      }
    }
  }

  // The layers in the form of the run's report. The parameters are moved out.
  [[gnu::cold]] std::vector<layer_report<params>> report() {
    std::vector<layer_report<params>> all(targets_.size());
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      const index_t l = targets_[i];
      auto& s = layers()[l];
      all[i].index = l;
      all[i].name = net_->layers()[l].name;
      all[i].scaling = double(s.scaling);
      all[i].clamped = clamped_[l] != 0;
      all[i].attached = s.attached;
      if (s.attached) {
        all[i].rank = rank_of(l);
        all[i].parameters = this->take_parameters(l);
      }
    }
    return all;
  }
  index_t start_rank(index_t l) {
    const index_t position = std::find(targets_.begin(), targets_.end(), l) - targets_.begin();
    const index_t asked = options_.layer_ranks.empty() ? options_.rank : options_.layer_ranks[l];
    const index_t wanted = method_.rank.initial_rank(position, index_t(targets_.size()), asked);
    const index_t limit = max_rank(l);
    clamped_[l] = options_.clamp_rank && wanted > limit;
    const index_t r = options_.clamp_rank ? std::min(wanted, limit) : wanted;
    require_start_rank(net_->layers()[l].name, r, limit);
    return r;
  }
  target_layer<Be> target_layer_of(index_t l, index_t rank, double s) const {
    const generator gen = gen_.fork(purpose::factors, number_of_draw(l));
    return {this->weight(l), rank, scalar_of<Be>(s), adapter_type::side, l, gen};
  }
  generator adapter_stream(index_t l) const { return gen_.fork(purpose::gate, number_of_draw(l)); }
  std::uint64_t number_of_draw(index_t l) const {
    return std::uint64_t(starts_) * net_->layers().size() + std::uint64_t(l);
  }
  // What an init returned: takes a residual product from W or replaces W, then creates the adapter.
  template <class Init>
  void install_answer(index_t l, double s, replacement<Be> answer) {
    backend().copy(transpose::no, answer.W, net_->layers()[l].W);
    base_changed_ = true;
    install_answer<Init>(l, s, std::move(answer.f));
  }
  template <class Init>
  [[gnu::cold]] void install_answer(index_t l, double s, factors<Be> f) {
    auto& frozen = net_->layers()[l];
    if constexpr (Init::product == initial_product::residual) {
      backend().gemm(scalar_of<Be>(-s), transpose::no, f.B, transpose::no, f.A, 1, frozen.W);
      base_changed_ = true;
    }
    const frozen_linear<Be> under{this->weight(l), frozen.b, scalar_of<Be>(s)};
    install(l, s, method_.adapter.start(backend(), under, std::move(f), adapter_stream(l)));
  }
  [[gnu::cold]] void install(index_t l, double s, params p) {
    all_reduce_.broadcast_all(p);  // process 0's, because machines may round differently
    this->attach(l, std::move(p), scalar_of<Be>(s));
    optim_[l] = method_.optim.start(backend(), layers()[l].parameters);
  }
  void finish_start() {
    ++starts_;
    count_trained();
  }
  void count_trained() { trained_ = trained_counts(layers()); }

  const Method& method_;
  Net* net_;
  const fit_options& options_;
  gradient_all_reduce<Be> all_reduce_;
  generator gen_;
  std::vector<index_t> targets_;
  std::vector<optim_state> optim_;  // one per layer of the network
  std::vector<char> clamped_;
  shared_pointer<adapter_type, Be> shared_{};
  step_context trained_{};  // its counts of trained matrices and entries
  index_t starts_ = 0;      // of all layers together, for the streams of random numbers
  bool base_changed_ = false;
};

}  // namespace preheat
