// The list of all methods.
#include "methods.hpp"

#include <utility>

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

}  // namespace comparison
