// The pretrained base, and what the definition of every run says.
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "adapt.hpp"

namespace studies::digits {

std::shared_ptr<const base_model> pretrain(const samples& upright, int seed,
                                           const training_settings& s) {
  network net(be, widths(), std::uint64_t(seed));
  const auto report = preheat::fit(preheat::full_fine_tuning{.optim = {.lr = s.pretraining_rate}},
                                   net, to_minibatches(upright, s.batch),
                                   {.steps = s.pretraining_steps, .seed = std::uint64_t(seed)});
  if (report.status != preheat::fit_status::completed) {
    throw std::runtime_error("the pretraining of base " + std::to_string(seed) +
                             " ended with: " + preheat::to_string(report.status));
  }
  preheat::merge(net, report);
  return std::make_shared<const base_model>(std::move(net));
}

std::string fingerprint(const run_function& adapted, const shift_data& data) {
  const training_settings few{.steps = 100, .batch = 4, .pretraining_steps = 1, .curve_points = 1};
  run_definition run;
  run.rank = 4;
  run.rate = 1e-2;
  const auto base = pretrain(data.pretrain, 0, few);
  return to_text(adapted(*base, data, few, run).validation_loss);
}

std::string describe_settings(const training_settings& s, const samples& digits,
                              const split& parts) {
  return fmt::format(
      "MLP 64-256-256-10 pretrained {} steps at {}; batch {}, s {}, AdamW, linear schedule with "
      "warmup {}, curve of {}; digits {:016x} split {}/{}/{} by {}; {}",
      s.pretraining_steps, to_text(s.pretraining_rate), s.batch, to_text(s.scaling),
      to_text(s.warmup), s.curve_points, checksum(digits), parts.train.size(),
      parts.validation.size(), parts.test.size(), split_seed, describe_backend());
}

std::string describe_backend() {
  return be.describe();
}

void use_one_blas_thread() {
  preheat::set_blas_threads(1);
}

}  // namespace studies::digits
