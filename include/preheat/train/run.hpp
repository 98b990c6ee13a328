// One training run: the order of a step, and what the hooks of the five axes may use.
//
//   adapters                 the operator with every layer's parameters, gradient, optimizer state
//   layers()                 the network's base layers, read-only
//   attach(layers)           starts adapters in these layers from the init, which is calibrated
//                            before if it learns from the data; every start after the run's first
//                            uses restart_init(init)
//   merge(layers)            W += ΔW in these layers, which then have no adapter (chains only)
//   select_ranks(l, keep, n) keeps the listed ranks of layer l and appends n new ones (product
//                            zero); a layer left without ranks has no adapter
//   validation_loss()        the loss on the validation batch; every call is counted in the report
//   average(x)               x becomes its mean over the processes that train together
//   finish_early()           ends the run after this step
// A policy can write to W by merge() alone. `fit` is the loop around a run.
#pragma once
#include <chrono>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "adapters.hpp"
#include "batch_gradient.hpp"
#include "calibration.hpp"
#include "check_run.hpp"
#include "evaluator.hpp"
#include "head.hpp"
#include "method_hooks.hpp"

namespace preheat {

template <class Method, network Net, class Data, bool Validated>
class training_run {
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
  using report_type = fit_report<backend_type, adapter_type>;
  using input_view = const_view_of<backend_type>;  // for hook::observe_input

  static_assert(policies_are_complete<Method, backend_type>());

  [[gnu::cold]] training_run(const Method& m, Net& network, Data& batches,
                             const fit_options& settings, const batch_type* validation)
      : method(m),
        options(for_this_process(settings)),
        net_((require_settings(settings, network.layers().size()),
              require_same_run<Data>(network, settings), &network)),
        data_(batches),
        gen_(settings.seed),
        gradient_(network, batches, options),
        head_(network),
        evaluator_(network, options, validation),
        adapters(method, network, options) {
    result_.losses.reserve(std::size_t(options.steps));
    result_.learning_rates.reserve(std::size_t(options.steps));
    if constexpr (any_has_hook<hook::observe_input, Method>) {
      adapters.linear().observe_input = [this](index_t l, input_view X) {
        call<hook::observe_input>(*this, l, X);
      };
    }
    if (options.resume != nullptr) {
      transfer(archive<backend_type>(backend(), *options.resume));
      return;
    }
    call<hook::begin>(*this);
    if constexpr (!has_hook<hook::begin, chain_type>()) {  // else a chain chooses the layers
      attach(targets());
    }
    result_.trainable_parameters = adapters.trained_entries();
  }
  training_run(const training_run&) = delete;
  training_run& operator=(const training_run&) = delete;

  // --- what hooks may read and change
  Method method;
  const fit_options options;

 private:  // (declared before `adapters`, which refers to them)
  Net* net_;
  Data& data_;
  generator gen_;
  batch_gradient<Net, Data> gradient_;
  head_trainer<Net> head_;
  evaluator<Net> evaluator_;

 public:
  training_adapters<Method, Net> adapters;
  typename rank_type::template state<backend_type> rank_state{};
  typename chain_type::template state<backend_type> chain_state{};

  backend_type& backend() const { return net_->backend(); }
  std::span<const base_layer<backend_type>> layers() const { return net_->layers(); }
  const std::vector<index_t>& targets() const { return adapters.targets_; }
  index_t steps_done() const { return step_; }
  index_t steps_planned() const { return options.steps - calibration_steps_; }
  generator stream(purpose p, index_t i = 0) const { return gen_.fork(p, std::uint64_t(i)); }
  index_t max_rank(index_t l) const { return adapters.max_rank(l); }
  index_t rank_of(index_t l) const { return adapters.rank_of(l); }  // 0 without factors

  // --- actions
  void attach(const std::vector<index_t>& chosen) {
    if constexpr (!adapter_type::has_factors) {
      adapters.start_without_init(chosen);
    } else if (adapters.starts_ == 0) {
      start_by(method.init, chosen);
    } else {
      start_by(restart_init(method.init), chosen);
    }
  }
  void merge(const std::vector<index_t>& chosen) {
    static_assert(
        chain_type::merges,
        "preheat: only a chain that says `static constexpr bool merges = true` may merge");
    for (const index_t l : chosen) {
      if (adapters.layers()[l].attached) {
        adapters.linear().merge(l);
      }
    }
  }
  void select_ranks(index_t l, const std::vector<index_t>& keep, index_t added) {
    adapters.select_ranks(l, keep, added);
  }
  double validation_loss() {
    static_assert(Validated,
                  "preheat: this method scores itself on a validation batch. Pass the batch as the "
                  "last argument of fit(method, network, batches, options, validation)");
    return evaluator_.loss(adapters.linear());
  }
  void average(view_of<backend_type> x) { adapters.all_reduce_.mean(x); }
  void finish_early() { finished_ = true; }

  // --- the loop
  bool done() const { return finished_ || step_ >= steps_planned(); }

  // One optimizer step, hooks included.
  void step() {
    if (stop_requested(options)) {
      return end(fit_status::interrupted);
    }
    call<hook::before_step>(*this);
    if (done()) {
      return;
    }
    const double loss = gradient_.compute(step_, adapters.linear(), adapters.all_reduce_, head_);
    if (!std::isfinite(loss)) {
      return end(fit_status::non_finite);
    }
    const double factor = options.schedule(step_, steps_planned());
    const double rate = learning_rate(std::as_const(method.optim)) * factor;
    adapters.for_each_attached(context_of_step(rate), [&](auto& s, const step_context& context) {
      call<hook::penalize>(backend(), std::as_const(s.parameters), s.gradient, context);
    });
    call<hook::after_backward>(*this);
    if (options.max_gradient_norm > 0) {
      clip_gradients(adapters.linear(), head_, options.max_gradient_norm);
    }
    in_few_launches(
        backend(), [&] { adapters.optimize(context_of_step(rate), stream(purpose::step, step_)); });
    head_.step(options.head_rate ? *options.head_rate * factor : rate, step_);
    ++step_;
    detail::append(result_.losses, loss);
    detail::append(result_.learning_rates, rate);
    call<hook::after_step>(*this);
    if constexpr (Validated) {
      if (evaluator_.should_stop(step_, adapters.linear())) {
        end(fit_status::stopped_early);
      }
    }
    report_progress(options, step_, steps_planned(), loss, rate, seconds(), evaluator_.at(step_));
    if (options.checkpoint_every > 0 && step_ % options.checkpoint_every == 0) {
      save_checkpoint();
    }
  }

  report_type run_to_end() {
    while (!done()) {
      step();
    }
    return finish();
  }

  [[gnu::cold]] report_type finish() {
    save_checkpoint();
    if (result_.status != fit_status::non_finite) {  // a chain must not merge them
      call<hook::finish>(*this);
    }
    result_.steps = step_;
    result_.calibration_steps = calibration_steps_;
    result_.head_parameters = head_.size();
    result_.validation_passes = evaluator_.passes();
    result_.evaluations = std::move(evaluator_.evaluations());
    result_.adapter = method.adapter;
    result_.base_changed = adapters.base_changed_ || chain_type::merges;
    result_.layers = adapters.report();
    wait_for(backend());
    result_.seconds = seconds();
    return std::move(result_);
  }

  [[gnu::cold]] training_state state() {
    training_state s;
    transfer(archive<backend_type>(backend(), s, archive<backend_type>::direction::save));
    return s;
  }

 private:
  using clock = std::chrono::steady_clock;

  template <class Hook, class... Args>
  void call(Args&&... args) {
    call_hooks<Hook>(method, args...);
  }
  void end(fit_status why) { result_.status = why, finished_ = true; }
  double seconds() const { return std::chrono::duration<double>(clock::now() - begun_).count(); }

  // Starts an adapter in each of these layers from this init. An init that learns from the data is
  // calibrated before, in steps that are subtracted from those of the run.
  template <class Init>
  [[gnu::cold]] void start_by(const Init& init, const std::vector<index_t>& chosen) {
    start_plan plan = adapters.plan(chosen);
    if constexpr (calibrates<Init, backend_type>) {
      const index_t price =
          options.count_calibration_steps ? init.calibration_steps(options.steps) : 0;
      const index_t left = steps_planned() - step_;
      if (adapters.starts_ > 0 && price >= left) {
        finished_ = true;  // too few steps are left for another start of a chain
        return;
      }
      require(price < left, "steps of calibration < steps of the run", price, left);
      calibration_context<Net, Data> context(*net_, data_, options, plan,
                                             learning_rate(std::as_const(method.optim)),
                                             stream(purpose::calibration, adapters.starts_));
      const auto calibration = calibrate(init, context);
      calibration_steps_ += price;
      if (context.ended()) {
        return end(context.status);
      }
      plan.ranks = context.ranks;  // an init may redistribute them (init::eva); s stays
      const auto layer_of = [&](index_t l) {
        return adapters.target_layer_of(l, plan.ranks[l], plan.scalings[l]);
      };
      adapters.start(init, plan, calibrated_start(init, backend(), plan, calibration, layer_of));
    } else {
      adapters.start(init, plan,
                     [&](index_t, const auto& layer) { return init(backend(), layer); });
    }
  }

  step_context context_of_step(double rate) const {
    step_context context = adapters.trained_;
    context.learning_rate = rate;
    context.step = step_;
    context.steps = steps_planned();
    return context;
  }
  [[gnu::cold]] void save_checkpoint() {
    if (options.checkpoint) {
      options.checkpoint(state());
    }
  }
  // Saves or loads everything that the rest of the run depends on.
  [[gnu::cold]] void transfer(archive<backend_type> ar) {
    index_t rank = options.rank;
    ar("options/rank", rank);
    require(rank == options.rank, "the rank of a resumed run is the saved one", options.rank, rank);
    ar("step", step_);
    ar("calibration_steps", calibration_steps_);
    ar("trainable", result_.trainable_parameters);
    ar("losses", result_.losses);
    ar("learning_rates", result_.learning_rates);
    bool early = result_.status == fit_status::stopped_early;  // such a run takes no more steps
    ar("stopped_early", early);
    if (early) {
      end(fit_status::stopped_early);
    }
    ar("validation", evaluator_);
    ar("rank", rank_state);
    ar("chain", chain_state);
    ar("head", head_);
    adapters.archive(ar);
  }

  index_t step_ = 0;
  index_t calibration_steps_ = 0;
  bool finished_ = false;
  report_type result_{};
  clock::time_point begun_ = clock::now();
};

}  // namespace preheat
