// The loss and the gradient of one step of a run: the means over all batches of the step and over
// all processes.
#pragma once
#include "../core/communicator.hpp"
#include "gradients.hpp"
#include "options.hpp"

namespace preheat {

template <network Net, class Data>
class batch_gradient {
 public:
  using Be = typename Net::backend_type;

  batch_gradient(Net& net, Data& data, const fit_options& options)
      : net_(&net), data_(data), options_(options), gen_(options.seed) {}

  // Writes the mean gradient of step `step` to the adapters and the head, and returns the mean
  // loss. The sum of a layer's gradient over the processes starts as soon as the backward pass of
  // the last batch has completed that gradient.
  template <class Adapted, class Reduce, class Head>
  double compute(index_t step, Adapted& linear, Reduce& all_reduce, Head& head) {
    double loss = 0;
    const auto pass = [&] { loss = computed(step, linear, all_reduce, head); };
    // A pass that other processes wait for, or whose inputs a policy sees, is not begun a second time.
    if (options_.processes.alone() && !linear.observe_input) {
      as_before(net_->backend(), pass);
    } else {
      pass();
    }
    return loss;
  }

 private:
  template <class Adapted, class Reduce, class Head>
  double computed(index_t step, Adapted& linear, Reduce& all_reduce, Head& head) {
    linear.zero_gradients();
    head.zero_gradient();
    double loss = 0;
    for (index_t k = 0; k < options_.accumulate; ++k) {
      const index_t number = step * options_.accumulate + k;
      load(number);
      linear.set_dropout(options_.dropout, gen_.fork(purpose::dropout, std::uint64_t(number)),
                         options_.processes.rank());
      if (k + 1 == options_.accumulate) {
        all_reduce.open();
      }
      linear.expect_pass();
      loss += double(net_->loss_and_gradient(batch_, linear)) / double(options_.accumulate);
    }
    all_reduce.finish(linear.layers());
    head.each_gradient([&](mat<Be>& g) { all_reduce.mean(g); });
    const index_t batches = options_.accumulate * options_.processes.size();
    if (batches > 1) {
      scale_gradients(linear, 1.0 / double(batches));
    }
    if (options_.accumulate > 1) {
      head.scale_gradient(1.0 / double(options_.accumulate));
    }
    return options_.processes.mean(loss);
  }

  // Loads the batch of this number, or this process's part of it.
  void load(index_t number) {
    const process_group& all = options_.processes;
    const generator stream = gen_.fork(purpose::batch);
    if (all.alone()) {  // require_same_run() has refused batches without load_shard
      data_.load(stream, number, batch_);
    } else if constexpr (sharded_data_source<Data, Net>) {
      data_.load_shard(stream, number, {all.rank(), all.size()}, batch_);
    }
  }

  Net* net_;
  Data& data_;
  const fit_options& options_;
  generator gen_;
  typename Net::batch_type batch_{};
};

}  // namespace preheat
