// One training run under way: the state that the loop and the hooks of the five axes share.
//
// What a hook may use (everything public): the network, the options, the operator with every
// layer's parameters and gradients, the optimizers' states, and these verbs:
//
//   attach(layers)           draw adapters from the init (gathering its evidence), reset optimizers;
//                            after the run's first start from later_init(init)
//   fold(layers)             W += ΔW, the layers are then detached
//   select_ranks(l, keep, n) keep the listed ranks of layer l, append n fresh ones (product zero);
//                            a layer left without ranks is detached
//   validation_loss()        the loss on the validation batch; every call is counted in the report
//   finish_early()           end the run after this step
//   average(x)               the mean of x over the processes that train together
//
// `fit` is the loop around it; use `run` itself to step by hand or to look inside.
#pragma once
#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "early_stopping.hpp"
#include "evidence.hpp"
#include "exchange.hpp"
#include "gradients.hpp"
#include "head.hpp"

namespace preheat {

template <class Method, network Net, class Data, bool Validated>
class run {
 public:
  using backend_type = typename Net::backend_type;
  using scalar = scalar_of<backend_type>;
  using batch_type = typename Net::batch_type;
  using adapter_type = typename Method::adapter_type;
  using init_type = typename Method::init_type;
  using optim_type = typename Method::optim_type;
  using rank_type = typename Method::rank_type;
  using chain_type = typename Method::chain_type;
  using params = typename adapter_type::template params<backend_type>;
  using optim_state = typename optim_type::template state<backend_type, params>;
  using report_type = fit_report<backend_type, adapter_type>;
  using input_view = in<backend_type>;  // for hook::observe_input
  using step_type = step_context;       // for hook::penalize

  static_assert(init_policy<init_type, backend_type>,
                "preheat: the init lacks a member of concept init_policy (core/concepts.hpp)");
  static_assert(
      optim_policy<optim_type, backend_type, params>,
      "preheat: the optimizer lacks a member of concept optim_policy (core/concepts.hpp)");
  static_assert(
      rank_policy<rank_type, backend_type>,
      "preheat: the rank policy lacks a member of concept rank_policy (core/concepts.hpp)");
  static_assert(
      chain_policy<chain_type, backend_type>,
      "preheat: the chain policy lacks a member of concept chain_policy (core/concepts.hpp)");
  static_assert(
      data_source<Data, Net>,
      "preheat: batches must have void draw(generator stream, index_t step, batch_type&)");

  run(const Method& m, Net& network, Data& batches, const fit_options& settings,
      const batch_type* validation)
      : method(m),
        net(network),
        options(for_this_process(settings)),
        lin(network, m.adapter),
        head(network),
        data_(batches),
        validation_(validation),
        gen_(settings.seed),
        exchange_(network.backend(), settings.processes, network.layers().size()) {
    check_options();
    if (!options.processes.alone()) {
      check_processes();
      lin.gradient_final = [this](index_t l) {
        exchange_.start(l, lin.slots()[std::size_t(l)].gradient);
      };
    }
    optim.resize(net.layers().size());
    clamped_.resize(net.layers().size());
    result_.losses.reserve(std::size_t(options.steps));
    result_.learning_rates.reserve(std::size_t(options.steps));
    if (options.evaluate_every > 0) {
      result_.evaluations.reserve(std::size_t(options.steps / options.evaluate_every));
    }
    result_.head_parameters = head.size();
    select_targets();
    if constexpr (someone_has<hook::observe_input>) {
      lin.observe_input = [this](index_t l, in<backend_type> X) {
        all_hooks<hook::observe_input>(l, X);
      };
    }
    if (options.resume != nullptr) {
      restore(*options.resume);
    } else {
      begin();
    }
  }
  run(const run&) = delete;
  run& operator=(const run&) = delete;

  // --- what hooks may read and change
  Method method;
  Net& net;
  const fit_options options;
  adapted<backend_type, adapter_type> lin;  // parameters and gradients: lin.slots()
  head_trainer<Net> head;                   // of a network that trains one
  std::vector<optim_state> optim;           // one a layer
  typename rank_type::template state<backend_type> rank_state{};
  typename chain_type::template state<backend_type> chain_state{};

  backend_type& backend() const { return net.backend(); }
  const std::vector<index_t>& targets() const { return targets_; }  // layers that may be adapted
  index_t steps_done() const { return step_; }
  index_t steps_planned() const { return options.steps - charged_; }
  generator stream(purpose p, index_t i = 0) const { return gen_.fork(p, std::uint64_t(i)); }
  index_t max_rank(index_t l) const {
    const auto& W = net.layers()[std::size_t(l)].W;
    return std::min(W.rows(), W.cols());
  }
  index_t rank_of(index_t l) const {  // 0 for adapters without factors
    if constexpr (adapter_type::has_factors) {
      return method.adapter.rank(lin.slots()[std::size_t(l)].parameters);
    } else {
      return 0;
    }
  }

  // --- verbs
  void attach(const std::vector<index_t>& layers);
  void fold(const std::vector<index_t>& layers) {
    static_assert(chain_type::folds,
                  "preheat: only a chain that says `static constexpr bool folds = true` may fold");
    for (const index_t l : layers) {
      if (lin.slots()[std::size_t(l)].attached) {
        lin.fold(l);
      }
    }
  }
  void select_ranks(index_t l, const std::vector<index_t>& keep, index_t added);
  double validation_loss() {
    static_assert(Validated,
                  "preheat: this method scores itself on a validation batch. Pass the batch as the "
                  "last argument of fit(method, network, batches, options, validation)");
    ++result_.validation_passes;
    // All processes decide by what process 0 has measured.
    return options.processes.of_first(
        options.processes.first() ? double(net.loss(*validation_, lin)) : 0);
  }
  // x, which a policy has as a mean over this process's share of a batch, becomes that over all.
  void average(out<backend_type> x) { exchange_.mean(x); }
  void finish_early() { finished_ = true; }

  // --- the loop
  bool done() const { return finished_ || step_ >= steps_planned(); }
  void step();
  report_type finish();
  report_type run_to_end() {
    while (!done()) {
      step();
    }
    return finish();
  }
  training_state state() {
    training_state s;
    archive<backend_type> ar(backend(), s, archive<backend_type>::direction::save);
    transfer(ar);
    return s;
  }

 private:
  using clock = std::chrono::steady_clock;

  template <class Hook>
  static constexpr bool someone_has =
      has_hook<Hook, adapter_type>() || has_hook<Hook, init_type>() ||
      has_hook<Hook, optim_type>() || has_hook<Hook, rank_type>() || has_hook<Hook, chain_type>();
  template <class Hook, class... Args>
  void all_hooks(Args&&... args) {
    call_hook<Hook>(method.adapter, *this, args...);
    if constexpr (adapter_type::has_factors) {
      call_hook<Hook>(method.init, *this, args...);
    }
    call_hook<Hook>(method.optim, *this, args...);
    call_hook<Hook>(method.rank, *this, args...);
    call_hook<Hook>(method.chain, *this, args...);
  }

  void check_options() const {
    require(options.rank >= 1, "rank >= 1", options.rank, 1);
    require(options.steps >= 1, "steps >= 1", options.steps, 1);
    require(options.accumulate >= 1, "accumulated batches >= 1", options.accumulate, 1);
    require(0 <= options.dropout && options.dropout < 1, "0 <= dropout < 1", options.dropout, 1.0);
    require(options.max_gradient_norm >= 0, "largest gradient norm >= 0", options.max_gradient_norm,
            0.0);
    require(options.head_rate.value_or(0) >= 0, "learning rate of the head >= 0",
            options.head_rate.value_or(0), 0.0);
    require(options.evaluate_every >= 0, "evaluate_every >= 0", options.evaluate_every, 0);
    require(options.patience >= 0, "patience >= 0", options.patience, 0);
    require(options.checkpoint_every >= 0, "checkpoint_every >= 0", options.checkpoint_every, 0);
    require(options.evaluate_every == 0 || Validated,
            "evaluate_every needs a validation batch, the last argument of fit");
    require(options.patience == 0 || options.evaluate_every > 0,
            "patience needs evaluate_every > 0", options.patience, options.evaluate_every);
    const std::size_t given = options.layer_scaling.size();
    require(given == 0 || given == net.layers().size(), "layer_scaling has one s a layer", given,
            net.layers().size());
  }
  // What must not differ between the processes: the settings that decide how many sums there are,
  // the draws, and the base weights.
  void check_processes() const {
    const process_group& all = options.processes;
    require(shared_data_source<Data, Net>,
            "several processes need batches that can be shared: void draw_share(generator stream, "
            "index_t step, share part, batch_type&)");
    all.require_same(options.seed, "seed");
    all.require_same(options.rank, "rank");
    all.require_same(options.steps, "steps");
    all.require_same(options.accumulate, "accumulated batches");
    all.require_same(options.evaluate_every, "evaluate_every");
    all.require_same(options.resume != nullptr ? hash_of(*options.resume) : 0, "saved state");
    all.require_same(net.layers().size(), "number of layers");
    bit_hash base;
    for (const auto& l : net.layers()) {
      base.add<backend_type>(backend(), l.W);
      base.add<backend_type>(backend(), l.b);
    }
    if constexpr (trains_head<Net>) {
      visit([&](auto, const auto& x) { base.template add<backend_type>(backend(), x); },
            net.head().parameters);
    }
    all.require_same(base.value(), "base weights");
  }
  // The layers that some target means; every target must mean at least one.
  void select_targets() {
    for (std::size_t l = 0; l < net.layers().size(); ++l) {
      if (matches_target(net.layers()[l].name, options.targets)) {
        targets_.push_back(index_t(l));
      }
    }
    for (const std::string& target : options.targets) {
      const auto meant = [&](const auto& l) { return matches_target(l.name, {target}); };
      if (std::none_of(net.layers().begin(), net.layers().end(), meant)) {
        std::string names;
        for (const auto& l : net.layers()) {
          names += (names.empty() ? "" : ", ") + l.name;
        }
        throw invalid_argument("no layer matches the target '" + target +
                               "'; the network's layers are: " + names);
      }
    }
  }
  // A chain that declares hook::begin decides which layers start; otherwise all targets do.
  void begin() {
    all_hooks<hook::begin>();
    if constexpr (!has_hook<hook::begin, chain_type>()) {
      attach(targets_);
    }
    result_.trainable_parameters = count_trained();
  }
  index_t count_trained() const {
    index_t total = 0;
    for (const auto& s : lin.slots()) {
      total += s.attached ? trained_size(s.parameters) : 0;
    }
    return total;
  }

  index_t start_rank(index_t l) {
    const index_t place =
        index_t(std::find(targets_.begin(), targets_.end(), l) - targets_.begin());
    const index_t wanted = method.rank.of(place, index_t(targets_.size()), options.rank);
    const index_t limit = max_rank(l);
    clamped_[std::size_t(l)] = options.clamp_rank && wanted > limit;
    const index_t r = options.clamp_rank ? std::min(wanted, limit) : wanted;
    if (r < 1 || r > limit) {
      throw invalid_argument("layer '" + net.layers()[std::size_t(l)].name +
                             "': 1 <= rank <= min(out, in) (" + std::to_string(r) + ", " +
                             std::to_string(limit) + ")");
    }
    return r;
  }
  double start_scaling(index_t l, index_t rank) const {
    const double s = options.layer_scaling.empty() ? options.scaling(rank, options.rank)
                                                   : options.layer_scaling[std::size_t(l)];
    require(s > 0 && std::isfinite(s), "0 < scaling < infinity", s, 0.0);
    return s;
  }
  site<backend_type> site_of(index_t l, index_t rank, double s) const {
    const std::uint64_t number = std::uint64_t(draws_) * net.layers().size() + std::uint64_t(l);
    return {.W = net.layers()[std::size_t(l)].W,
            .rank = rank,
            .scaling = scalar(s),
            .directions = adapter_type::directions,
            .layer = l,
            .gen = gen_.fork(purpose::factors, number)};
  }
  generator adapter_stream(index_t l) const {
    return gen_.fork(purpose::gate, std::uint64_t(draws_) * net.layers().size() + std::uint64_t(l));
  }
  void place(index_t l, double s, params p) {
    exchange_.broadcast_all(p);  // other machines may round otherwise
    lin.attach(l, std::move(p), scalar(s));
    optim[std::size_t(l)] = method.optim.start(backend(), lin.slots()[std::size_t(l)].parameters);
  }
  // The init's answer for a layer: W gives a product away that is absorbed, or is replaced; the
  // adapter starts.
  void start_from(index_t l, double s, replacement<backend_type> answer) {
    backend().copy(op::none, answer.W, net.layers()[std::size_t(l)].W);
    result_.base_changed = true;
    start_from(l, s, std::move(answer.f));
  }
  void start_from(index_t l, double s, factors<backend_type> f) {
    auto& frozen = net.layers()[std::size_t(l)];
    if constexpr (init_type::product == start::absorbed) {
      backend().gemm(scalar(-s), op::none, f.B, op::none, f.A, 1, frozen.W);
      result_.base_changed = true;
    }
    const frozen_linear<backend_type> base{frozen.W, frozen.b, scalar(s)};
    place(l, s, method.adapter.start(backend(), base, std::move(f), adapter_stream(l)));
  }

  template <class Init>
  void attach_by(const Init& init, const std::vector<index_t>& layers);
  double compute_gradient();
  void draw(index_t number);
  step_context context_of_step(double rate) const;
  void penalize(double rate);
  void optimize(double rate);
  void take_census();
  void evaluate();
  void notify(double loss, double rate);
  template <class Archive>
  void transfer(Archive& ar);
  void restore(const training_state& s) {
    training_state copy = s;
    archive<backend_type> ar(backend(), copy, archive<backend_type>::direction::load);
    transfer(ar);
    take_census();
  }
  void save_checkpoint() {
    if (options.checkpoint) {
      options.checkpoint(state());
    }
  }

  Data& data_;
  const batch_type* validation_;
  generator gen_;
  gradient_exchange<backend_type> exchange_;
  std::vector<index_t> targets_;
  std::vector<char> clamped_;
  batch_type batch_{};
  step_context census_{};
  index_t step_ = 0;
  index_t charged_ = 0;
  index_t draws_ = 0;
  early_stopping stopping_{};
  bool finished_ = false;
  report_type result_{};
  clock::time_point begun_ = clock::now();
};

}  // namespace preheat
