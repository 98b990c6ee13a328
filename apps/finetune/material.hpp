// What all runs of a command share, and what one of them is.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <preheat/peft/config.hpp>

#include "methods.hpp"
#include "model.hpp"
#include "options.hpp"

namespace apps::finetune {

// What all runs of a command share.
struct material {
  preheat::process_group processes{};  // that share the batches of a run
  preheat::process_group sweepers{};   // that share the runs of a sweep; each trains alone then
  material(const training_options& options, base_model& base) : o(options), model(base) {}

  const training_options& o;
  base_model& model;
  std::vector<example> train;
  std::vector<std::vector<std::size_t>> rows;  // of the training batches: numbers of examples
  std::vector<example> eval;                   // empty: none
  network::batch_type eval_batch;
  network::batch_type validation;  // of methods that score themselves
  std::string data;                // described
  std::uint64_t data_hash = 0;
  std::uint64_t eval_hash = 0;
  double loss_before = 0;      // on the held-out examples
  double accuracy_before = 0;  // of an encoder
  index_t steps = 0;
  index_t per_epoch = 0;
};

// One run of a grid.
struct run_choice {
  const method_entry* method = nullptr;
  double rate = 0;
  std::uint64_t seed = 0;
};

std::string version_text();

// The ranks and scales of all modules by rank_pattern and alpha_pattern, as PEFT reads them. Errors:
// io_error: not such a pattern, or a key that names no module.
preheat::peft::config patterns_of(const material& m);

// The alpha that is asked for, or twice the rank.
double alpha_of(const training_options& o);

// Gives an encoder the layer for classes that a run with this seed begins with: the model's own, or a random one.
void start_head(const material& m, network& net, std::uint64_t seed);

// Reads the examples and says what they are. Errors: io_error.
material read_material(const training_options& o, base_model& model);

preheat::fit_options fit_options_of(const material& m, const run_choice& run);

// Everything that the result of a run depends on; without a run, but for what differs between
// the runs of a sweep.
nlohmann::ordered_json settings_of(const material& m);
nlohmann::ordered_json settings_of(const material& m, const run_choice& run);

}  // namespace apps::finetune
