// What the driver sees of the methods: their list, the bases, and what a run's definition says.
#include "methods.hpp"

#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "adapt.hpp"
#include "lists.hpp"

namespace comparison {
namespace {

// The base as it is.
run_outcome leave_alone(const pretrained_base& base, const shift_data& data,
                        const training_settings&, const run_definition&) {
  const double started = thread_seconds();
  network net = base.net.copy();
  preheat::adapted<backend, preheat::adapter::lora> nothing_attached(net);
  run_outcome result;
  result.status = "completed";
  const score on_validation = evaluate(net, data.validation, nothing_attached);
  put_scores(result, on_validation, evaluate(net, data.test, nothing_attached));
  result.best_validation_loss = result.validation_loss;
  result.seconds = thread_seconds() - started;
  return result;
}

}  // namespace

std::vector<method_entry> all_methods(double row_norm) {
  std::vector<method_entry> entries;
  entries.push_back({.id = "none",
                     .name = "no adaptation",
                     .citation = "the base as it was pretrained",
                     .kind = family::reference,
                     .has_rank = false,
                     .has_rate = false,
                     .run = leave_alone});
  const auto add = [&](std::vector<method_entry> list, auto change) {
    for (method_entry& e : list) {
      change(e);
      entries.push_back(std::move(e));
    }
  };
  const auto keep = [](method_entry&) {};
  add(list_inits(), keep);
  add(list_methods(), keep);
  add(list_further(), [](method_entry& e) { e.by_default = false; });
  if (row_norm > 0) {
    add(list_equal_norm(row_norm), [&](method_entry& e) {
      e.id += "_norm";
      e.equal_norm = true;
      e.name += ", rows " + to_text(row_norm);
      e.citation += "; every direction of norm " + to_text(row_norm);
    });
  }
  return entries;
}

std::shared_ptr<const pretrained_base> pretrain(const samples& upright, int seed,
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
  return std::make_shared<const pretrained_base>(std::move(net));
}

std::string fingerprint(const method_entry& m, const shift_data& data) {
  const training_settings few{.steps = 100, .batch = 4, .pretraining_steps = 1, .curve_points = 1};
  run_definition run;
  run.rank = 4;
  run.rate = 1e-2;
  const auto base = pretrain(data.pretrain, 0, few);
  return to_text(m.run(*base, data, few, run).validation_loss);
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

std::string backend_hint() {
  if (describe_backend().find("Prescott") == std::string::npos) {
    return {};
  }
  return "this OpenBLAS does not know the processor and uses its slowest kernels; the environment "
         "variable OPENBLAS_CORETYPE=Haswell, or SkylakeX with AVX-512, doubles the speed";
}

void use_one_blas_thread() {
  preheat::set_blas_threads(1);
}

}  // namespace comparison
