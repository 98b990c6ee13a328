#include "starts.hpp"

#include <preheat/train/curvature.hpp>

#include "studies/digits/adapt.hpp"

namespace studies::rates {

namespace {

template <class Method>
start_point start_of(const std::string& id, Method m) {
  return {.id = id,
          .curvature = [m](const digits::base_model& base, const digits::shift_data& data,
                           const digits::training_settings& s, const common::run_definition& run) {
            digits::network net = base.net.copy();
            Method at_rate = m;
            at_rate.optim.lr = run.rate;  // that of HRP's preheating, and of GoRA's step
            auto batches = digits::to_minibatches(data.train, s.batch);
            auto whole = digits::to_minibatches(data.train, int(data.train.count()));
            auto started = preheat::start_run(at_rate, net, batches,
                                              digits::options_of(s, run, common::seed_of(run)));
            const auto c = preheat::curvature(net, started.adapters, whole);
            return spectrum_ends{c.largest, c.smallest};
          }};
}

}  // namespace

std::vector<start_point> all_starts() {
  return {start_of("lora", preheat::lora{}),
          start_of("gaussian", preheat::lora_gaussian{}),
          start_of("orthogonal", preheat::lora_orthogonal{}),
          start_of("peft_orthogonal", preheat::lora_peft_orthogonal{}),
          start_of("init_ab", preheat::lora_random_pair{}),
          start_of("pissa", preheat::pissa{}),
          start_of("milora", preheat::milora{}),
          start_of("olora", preheat::olora{}),
          start_of("loftq", preheat::loftq{}),
          start_of("hrp", preheat::hrp<>{}),
          start_of("hrp_classic", preheat::hrp<preheat::method<>>{}),
          start_of("eva", preheat::eva{}),
          start_of("corda", preheat::corda{}),
          start_of("corda_kpm", preheat::corda{.init = {.mode = preheat::init::corda_mode::kpm}}),
          start_of("lora_null", preheat::lora_null{}),
          start_of("lora_ga", preheat::lora_ga<>{}),
          start_of("lora_one", preheat::lora_one<>{}),
          start_of("lora_da", preheat::lora_da{}),
          start_of("gora", preheat::gora{})};
}

}  // namespace studies::rates
