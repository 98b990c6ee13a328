// One step of a run: hooks, gradient, penalties, clipping, optimizer, evaluation, observer,
// checkpoint.
#pragma once
#include "run.hpp"

namespace preheat {

// One optimizer step, hooks included.
template <class Method, network Net, class Data, bool Validated>
void run<Method, Net, Data, Validated>::step() {
  if (stop_requested(options)) {
    result_.status = fit_status::interrupted;
    finished_ = true;
    return;
  }
  all_hooks<hook::before_step>();
  if (done()) {
    return;
  }
  const double loss = compute_gradient();
  if (!std::isfinite(loss)) {
    result_.status = fit_status::non_finite;
    finished_ = true;
    return;
  }
  const double base_rate = learning_rate(std::as_const(method.optim));
  const double rate = base_rate * options.schedule(step_, steps_planned());
  penalize(rate);
  all_hooks<hook::after_backward>();

  optimize(rate);
  ++step_;
  result_.losses.push_back(loss);
  result_.learning_rates.push_back(rate);
  all_hooks<hook::after_step>();
  evaluate();
  if (options.observer) {
    notify(loss, rate);
  }
  if (options.checkpoint_every > 0 && step_ % options.checkpoint_every == 0) {
    save_checkpoint();
  }
}

// The batch of this number, or this process's share of it.
template <class Method, network Net, class Data, bool Validated>
void run<Method, Net, Data, Validated>::draw(index_t number) {
  const process_group& all = options.processes;
  if (all.alone()) {  // check_processes() has refused batches that cannot be shared
    data_.draw(gen_.fork(purpose::batch), number, batch_);
  } else if constexpr (shared_data_source<Data, Net>) {
    data_.draw_share(gen_.fork(purpose::batch), number, {all.rank(), all.size()}, batch_);
  }
}

// The mean loss and gradient over the step's batches, and over the processes. The sum over the
// processes of a layer's gradient begins when the last batch's backward pass has left the layer.
template <class Method, network Net, class Data, bool Validated>
double run<Method, Net, Data, Validated>::compute_gradient() {
  lin.zero_gradients();
  head.zero_gradient();
  double loss = 0;
  for (index_t k = 0; k < options.accumulate; ++k) {
    const index_t number = step_ * options.accumulate + k;
    draw(number);
    lin.set_dropout(options.dropout, gen_.fork(purpose::dropout, std::uint64_t(number)),
                    options.processes.rank());
    if (k + 1 == options.accumulate) {
      exchange_.open();
    }
    loss += double(net.loss_and_gradient(batch_, lin)) / double(options.accumulate);
  }
  exchange_.finish(lin.slots());
  head.each_gradient([&](mat<backend_type>& g) { exchange_.mean(g); });
  const index_t batches = options.accumulate * options.processes.size();
  if (batches > 1) {
    scale_gradients(lin, 1.0 / double(batches));
  }
  if (options.accumulate > 1) {
    head.scale_gradient(1.0 / double(options.accumulate));
  }
  return options.processes.mean(loss);
}

template <class Method, network Net, class Data, bool Validated>
step_context run<Method, Net, Data, Validated>::context_of_step(double rate) const {
  step_context context = census_;
  context.learning_rate = rate;
  context.step = step_;
  context.steps = steps_planned();
  return context;
}

// Adds the gradients of the penalties.
template <class Method, network Net, class Data, bool Validated>
void run<Method, Net, Data, Validated>::penalize(double rate) {
  step_context context = context_of_step(rate);
  for (std::size_t l = 0; l < optim.size(); ++l) {
    auto& s = lin.slots()[l];
    if (s.attached) {
      context.layer = index_t(l);
      context.scaling = double(s.scaling);
      all_hooks<hook::penalize>(std::as_const(s.parameters), s.gradient, context);
    }
  }
}

template <class Method, network Net, class Data, bool Validated>
void run<Method, Net, Data, Validated>::optimize(double rate) {
  step_context context = context_of_step(rate);
  const generator of_step = gen_.fork(purpose::step, std::uint64_t(step_));
  if (options.max_gradient_norm > 0) {
    clip_gradients(lin, head, options.max_gradient_norm);
  }
  for (std::size_t l = 0; l < optim.size(); ++l) {
    auto& s = lin.slots()[l];
    if (s.attached) {
      context.layer = index_t(l);
      context.scaling = double(s.scaling);
      context.gen = of_step.fork(purpose::step, l);
      method.optim.step(backend(), s.parameters, s.gradient, optim[l], context);
    }
  }
  if constexpr (trains_head<Net>) {
    const double factor = options.schedule(step_, steps_planned());
    head.step(options.head_rate ? *options.head_rate * factor : rate, step_);
  }
}

template <class Method, network Net, class Data, bool Validated>
void run<Method, Net, Data, Validated>::take_census() {
  census_ = {};
  for (const auto& s : lin.slots()) {
    if (s.attached) {
      visit(
          [&](auto part, const auto& x) {
            census_.matrices[int(part.kind)] += x.rows() * x.cols() > 0;
            census_.entries[int(part.kind)] += x.rows() * x.cols();
          },
          s.parameters);
    }
  }
}

template <class Method, network Net, class Data, bool Validated>
void run<Method, Net, Data, Validated>::evaluate() {
  if constexpr (Validated) {
    if (options.evaluate_every == 0 || step_ % options.evaluate_every != 0) {
      return;
    }
    const double loss = validation_loss();
    result_.evaluations.push_back({step_, loss});
    if (stopping_.update(loss, options.patience, options.min_improvement)) {
      result_.status = fit_status::stopped_early;
      finished_ = true;
    }
  }
}

template <class Method, network Net, class Data, bool Validated>
void run<Method, Net, Data, Validated>::notify(double loss, double rate) {
  const double seconds = std::chrono::duration<double>(clock::now() - begun_).count();
  const index_t total = steps_planned();
  options.observer({.phase = options.phase,
                    .step = step_,
                    .steps = total,
                    .loss = loss,
                    .learning_rate = rate,
                    .seconds = seconds,
                    .eta_seconds = seconds / double(step_) * double(total - step_)});
}

}  // namespace preheat
