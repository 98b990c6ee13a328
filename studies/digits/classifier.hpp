// The classifier that is adapted, seen from a driver: its settings, its pretraining, and what of both
// goes into the definition of a run. The training itself is in adapt.hpp.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "digits.hpp"
#include "studies/common/results.hpp"

namespace studies::digits {

using apps::console::to_text;
using common::not_a_number;
using common::run_definition;
using common::run_outcome;

// What all methods share. Times and counts of the presets are in options.hpp.
struct training_settings {
  int steps = 150;  // of every method, whatever it spends them on
  int batch = 64;
  double scaling = 2;    // s of ΔW = s·B·A
  double warmup = 0.06;  // of the steps: the rate rises, then falls linearly to 0
  int pretraining_steps = 300;
  double pretraining_rate = 2e-3;
  int curve_points = 15;  // evaluations of the validation loss during a run
};

// Everything that all runs share, as text for their definitions: settings, data, split, backend.
std::string describe_settings(const training_settings& s, const samples& digits,
                              const split& parts);

// What the program computes with, for readers and for a run's definition: "cpu<float>, OpenBLAS …".
std::string describe_backend();

// Runs are spread over threads by this program, so a BLAS must not start its own.
void use_one_blas_thread();

// An MLP 64-256-256-10 pretrained on the upright digits of a shift's training samples.
class base_model;
std::shared_ptr<const base_model> pretrain(const samples& upright, int seed,
                                           const training_settings& s);

// How a method adapts a base to a shift.
using run_function = std::function<run_outcome(const base_model&, const shift_data&,
                                               const training_settings&, const run_definition&)>;

// A text that changes when the method gives other numbers on this machine: the validation loss
// after a short run on small batches, in full. Part of a run's definition, so that results of an
// older library, another build or another machine are never taken for this one's.
std::string fingerprint(const run_function& run, const shift_data& data);

}  // namespace studies::digits
