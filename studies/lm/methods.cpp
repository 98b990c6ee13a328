// The list of methods, and what the driver needs to know of the library.
#include "methods.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "apps/console/text_table.hpp"
#include "catalogue.hpp"
#include "model.hpp"

namespace studies::lm {

// The model as it was pretrained.
static run_outcome measure_base(const base_model& model, const data_set& set,
                                const training_settings& s, const run_definition&) {
  const double started = computing_seconds();
  network net = model.start();
  preheat::adapted<backend, preheat::adapter::lora> base(net);  // nothing attached
  run_outcome result;
  measure(result, net, model, set, s, 0, base);
  result.status = preheat::to_string(preheat::fit_status::completed);
  result.seconds = computing_seconds() - started;
  return result;
}

std::vector<method_entry> all_methods() {
  catalogue rows;
  add_part_0(rows);
  std::vector<method_entry> all = rows.take_entries();
  all.insert(all.begin(), {.id = "base",
                           .name = "the model as it was",
                           .citation = "no training",
                           .kind = common::family::reference,
                           .has_rank = false,
                           .has_rate = false,
                           .by_chance = false,
                           .run = measure_base});
  return all;
}

std::string fingerprint(const method_entry& m, const base_model& model, const data_set& set) {
  constexpr std::size_t few = 4;
  const training_settings short_run{.steps = 4 + m.preheat_steps, .batch = 1, .samples = 0};
  data_set small;
  for (const auto part :
       {&data_set::train, &data_set::validation, &data_set::test, &data_set::drift}) {
    const std::vector<example>& all = set.*part;
    (small.*part).assign(all.begin(), all.begin() + index_t(std::min(few, all.size())));
  }
  run_definition run;
  run.rank = 2;
  run.rate = 1e-3;
  return apps::console::to_text(m.run(model, small, short_run, run).validation_loss);
}

std::string to_text(const training_settings& s) {
  return fmt::format(
      "batch {}, s {}, AdamW, linear schedule with warmup {}, gradients clipped at {}, {} samples "
      "of "
      "{} tokens{}",
      s.batch, s.scaling, s.warmup, s.most_gradient, s.samples, s.sample_tokens,
      s.why ? fmt::format(", starts measured, full fine-tuning at {}", why_full_rate) : "");
}

std::string describe_backend() {
  return the_backend().describe();
}

}  // namespace studies::lm
