// What is compared, seen from the driver: a list of methods, each a function that adapts a
// pretrained base to a shift. The training itself, and the only use of the library, is in
// adapt.hpp.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "digits.hpp"
#include "results.hpp"

namespace comparison {

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
class pretrained_base;
std::shared_ptr<const pretrained_base> pretrain(const samples& upright, int seed,
                                                const training_settings& s);

// Which colour a method has in the plots.
enum class family {
  reference,
  random,
  weight,
  preheated,
  one_factor,
  chained,
  optimized,
  structured
};

struct method_entry {
  std::string id;        // on the command line and in files
  std::string name;      // for readers
  std::string citation;  // where it is from, and what its settings are
  family kind = family::random;
  bool by_default = true;   // false: run only when it is named, or all are
  bool equal_norm = false;  // with all directions of the same given norm
  bool has_rank = true;     // false: one run serves all ranks
  bool has_rate = true;     // false: nothing is trained
  std::function<run_outcome(const pretrained_base&, const shift_data&, const training_settings&,
                            const run_definition&)>
      run;
};

// Every method; with row_norm > 0 also the inits of product zero with all directions of that norm,
// so that directions can be compared apart from their size.
std::vector<method_entry> all_methods(double row_norm);

// A text that changes when the method gives other numbers on this machine: the validation loss
// after a short run on small batches, in full. Part of a run's definition, so that results of an
// older library, another build or another machine are never taken for this one's.
std::string fingerprint(const method_entry& m, const shift_data& data);

}  // namespace comparison
