// The training loop, the only one in the library. The policies of the five axes act through their
// members and hooks, and `fit` has no special case for any policy.
//
//   #include <preheat/preheat.hpp>
//   using namespace preheat;
//
//   cpu<float> be;
//   nn::least_squares net(be, Eigen::MatrixXf::Zero(40, 30), Eigen::MatrixXf::Random(40, 30));
//   auto report = fit(hrp<>{.optim = {.lr = 1e-2}}, net, net.batches(), {.rank = 4, .steps = 200});
//   merge(net, report);
//
// Order in a step: before_step, gradients, penalties, after_backward, clipping, optimizer,
// after_step, evaluation, observer, checkpoint. Errors: invalid_argument for settings that
// contradict each other or the network's shapes. A loss that is not finite ends the run with that
// status and with the parameters from before the step.
#pragma once
#include "run.hpp"

namespace preheat {

// A run that is stepped by hand: `while (!r.done()) r.step(); auto report = r.finish();` is `fit`.
// The network and the batches must outlive it.
template <class... Policies, class Net, can_train<Net, method<Policies...>> Data>
training_run<method<Policies...>, Net, Data, false> start_run(const method<Policies...>& m,
                                                              Net& net, Data& batches,
                                                              const fit_options& options) {
  return {m, net, batches, options, nullptr};
}
// With a validation batch: for options.evaluate_every, and for methods that score themselves.
template <class... Policies, class Net, can_train<Net, method<Policies...>> Data>
training_run<method<Policies...>, Net, Data, true> start_run(
    const method<Policies...>& m, Net& net, Data& batches, const fit_options& options,
    const typename Net::batch_type& validation) {
  return {m, net, batches, options, &validation};
}

template <class... Policies, class Net, can_train<Net, method<Policies...>> Data>
fit_report<typename Net::backend_type, typename method<Policies...>::adapter_type> fit(
    const method<Policies...>& m, Net& net, Data&& batches, const fit_options& options) {
  auto r = start_run(m, net, batches, options);
  return r.run_to_end();
}
template <class... Policies, class Net, can_train<Net, method<Policies...>> Data>
fit_report<typename Net::backend_type, typename method<Policies...>::adapter_type> fit(
    const method<Policies...>& m, Net& net, Data&& batches, const fit_options& options,
    const typename Net::batch_type& validation) {
  auto r = start_run(m, net, batches, options, validation);
  return r.run_to_end();
}

// Refuse in words what the functions above do not take.
template <class Method, class Net, class Data, class... Validation>
requires(!can_train<Data, Net, Method>) detail::no_report<Method, Net, Data> fit(
    const Method&, Net&, Data&&, const fit_options& = {}, const Validation&...) {
  return {};
}
template <class Method, class Net, class Data, class... Validation>
requires(!can_train<Data, Net, Method>) detail::no_report<Method, Net, Data> start_run(
    const Method&, Net&, Data&, const fit_options&, const Validation&...) {
  return {};
}

}  // namespace preheat
