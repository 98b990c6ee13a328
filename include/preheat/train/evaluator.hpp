// The validation batch of a run: its loss, the number of passes over it, and whether its loss has
// stopped falling.
#pragma once
#include <optional>
#include <vector>

#include "early_stopping.hpp"
#include "options.hpp"
#include "report.hpp"

namespace preheat {

template <network Net>
class evaluator {
 public:
  using batch_type = typename Net::batch_type;

  evaluator(Net& net, const fit_options& options, const batch_type* batch)
      : net_(&net), options_(options), batch_(batch) {
    require(options.evaluate_every == 0 || batch != nullptr,
            "evaluate_every needs a validation batch, the last argument of fit");
    if (options.evaluate_every > 0) {
      evaluations_.reserve(std::size_t(options.steps / options.evaluate_every));
    }
  }

  // The loss on the validation batch through this operator. All processes use the value of process
  // 0, so that they decide alike.
  template <class Linear>
  double loss(Linear& linear) {
    ++passes_;
    const process_group& all = options_.processes;
    linear.expect_pass();
    return all.of_first(all.first() ? double(net_->loss(*batch_, linear)) : 0);
  }

  // After step `step`: evaluates if it is time. True when the run should stop.
  template <class Linear>
  bool should_stop(index_t step, Linear& linear) {
    if (options_.evaluate_every == 0 || step % options_.evaluate_every != 0) {
      return false;
    }
    evaluations_.push_back({step, loss(linear)});
    return stopping_.update(evaluations_.back().loss, options_.patience, options_.min_improvement);
  }

  // The loss that was evaluated after step `step`, if any was.
  std::optional<double> at(index_t step) const {
    const bool there = !evaluations_.empty() && evaluations_.back().step == step;
    return there ? std::optional<double>(evaluations_.back().loss) : std::nullopt;
  }

  index_t passes() const { return passes_; }
  std::vector<evaluation>& evaluations() { return evaluations_; }

  template <class Archive>
  void archive(Archive& ar) {
    ar("passes", passes_);
    ar("stopping", stopping_);
    ar("evaluations", evaluations_);
  }

 private:
  Net* net_;
  const fit_options& options_;
  const batch_type* batch_;  // null without validation
  index_t passes_ = 0;
  early_stopping stopping_{};
  std::vector<evaluation> evaluations_;
};

}  // namespace preheat
