// The list of methods, and what the driver needs to know of the library.
#include "methods.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "apps/console/text_table.hpp"
#include "catalogue.hpp"
#include "model.hpp"

namespace studies::text {

// The head on the encoder as it was pretrained: what `lora` gives at rate 0.
static method_entry head_alone(const method_entry& lora) {
  return {.id = "head",
          .name = "the head alone",
          .citation = "the encoder as it was pretrained",
          .kind = common::family::reference,
          .has_rank = false,
          .has_rate = false,
          .run = [adapt_at_zero = lora.run](const base_model& model, const encoded_set& set,
                                            const training_settings& s, const run_definition& run) {
            run_outcome outcome = adapt_at_zero(model, set, s, run);
            outcome.trainable_parameters = 0;
            return outcome;
          }};
}

std::vector<method_entry> all_methods() {
  catalogue rows;
  add_part_0(rows);
  std::vector<method_entry> all = rows.take_entries();
  const auto lora =
      std::find_if(all.begin(), all.end(), [](const method_entry& m) { return m.id == "lora"; });
  all.insert(lora, head_alone(*lora));
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
  return apps::console::to_text(m.run(model, small, short_run, run).validation_loss);
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

}  // namespace studies::text
