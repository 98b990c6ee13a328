// One run of a command: a method trained, its adapter saved.
#pragma once
#include <cmath>
#include <filesystem>
#include <memory>

#include "material.hpp"

namespace apps::finetune {

struct run_result {
  trained outcome;
  double eval_loss = NAN;            // of what is saved
  double eval_accuracy = NAN;        // likewise, of an encoder
  std::unique_ptr<network> changed;  // the weights, if the method leaves no adapter
};

// Trains, going on from what is in `folder` if that is there, and saves the adapter to `out`. Errors:
// std::runtime_error if it was interrupted; then the folder stays. `out` is empty for a method that leaves
// no adapter. A run whose numbers are not finite from the start saves nothing.
run_result make_run(material& m, const run_choice& run, const std::filesystem::path& folder,
                    const std::filesystem::path& out);

// The README of an adapter.
std::string card_of(const material& m, const run_choice& run, const run_result& result);

}  // namespace apps::finetune
