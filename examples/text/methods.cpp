// The list of methods, and what the driver needs to know of the library.
#include "methods.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "../console/text_table.hpp"
#include "model.hpp"

namespace sentiment {

std::vector<method_entry> all_methods() {
  std::vector<method_entry> all;
  for (const auto part :
       {full_fine_tuning, random_starts, orthonormal_start, weight_starts, preheated_starts,
        classic_preheating, train_b_preheating, gradient_start, input_start, boosted, merged_chain,
        one_factor_chain, preconditioned, masked, ablated, shared_factors, pruned, gated}) {
    for (method_entry& m : part()) {
      all.push_back(std::move(m));
    }
  }
  return all;
}

std::string fingerprint(const method_entry& m, const base_model& model, const encoded_set& set) {
  constexpr std::size_t few = 4;
  const training_settings short_run{.steps = 12, .batch = 1};
  encoded_set small = set;
  for (std::vector<example>* part : {&small.train, &small.validation, &small.test}) {
    part->resize(std::min(part->size(), few));
  }
  run_definition run;
  run.rank = 2;
  run.rate = 1e-2;
  return console::to_text(m.run(model, small, short_run, run).validation_loss);
}

std::string to_text(const training_settings& s) {
  return fmt::format(
      "batch {}, s {}, AdamW, linear schedule with warmup {}, head at {}, {} evaluations", s.batch,
      s.scaling, s.warmup, s.head_rate, s.evaluations);
}

std::string describe_backend() {
  return the_backend().describe();
}

void use_one_blas_thread() {
  preheat::set_blas_threads(1);
}

}  // namespace sentiment
