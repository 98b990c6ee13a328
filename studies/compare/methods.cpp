// The list of all methods.
#include "methods.hpp"

#include "catalogue.hpp"

namespace studies::compare {
namespace {

// The base as it is.
run_outcome leave_alone(const base_model& base, const shift_data& data, const training_settings&,
                        const run_definition&) {
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
  catalogue all(row_norm);
  add_part_0(all);
  std::vector<method_entry> entries = all.take_entries();
  entries.insert(entries.begin(), method_entry{.id = "none",
                                               .name = "no adaptation",
                                               .citation = "the base as it was pretrained",
                                               .kind = family::reference,
                                               .has_rank = false,
                                               .has_rate = false,
                                               .run = leave_alone});
  return entries;
}

}  // namespace studies::compare
