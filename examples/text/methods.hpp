// What is compared, seen from the driver: a list of methods, each a function that adapts the
// sentence encoder to a set of sentences. The rows are in methods_*.cpp, few in a file because
// training a transformer by one method is much code to compile; adapt.hpp makes a run.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "../compare/results.hpp"
#include "encoded.hpp"

namespace sentiment {

using comparison::run_definition;
using comparison::run_outcome;

class base_model;  // model.hpp

// What all methods share.
struct training_settings {
  int steps = 64;  // of every method, whatever it spends them on
  int batch = 32;
  double scaling = 2;    // s of ΔW = s·B·A
  double warmup = 0.06;  // of the steps: the rate rises, then falls linearly to 0
  // Of the head, whatever the method's own rate: of 0.001 … 0.05 the best for the head alone, by
  // validation loss on movie.
  double head_rate = 0.02;
  int evaluations = 1;       // of the validation loss during a run, the last at its end
  int training_points = 16;  // of the curve of the training loss
};

// The settings as text, for a run's definition.
std::string to_text(const training_settings& s);

// What the program computes with: "cpu<float>, OpenBLAS …".
std::string describe_backend();
// Runs are spread over threads by this program, so a BLAS must not start its own.
void use_one_blas_thread();

// Which colour a method has in the figures.
enum class family { reference, random, weight, data, system };

struct method_entry {
  std::string id;        // on the command line and in files
  std::string name;      // for readers
  std::string citation;  // where it is from, and what its settings are
  family kind = family::random;
  bool by_default = false;  // in the reduced grid
  bool has_rank = true;     // false: one run serves all ranks
  bool has_rate = true;     // false: nothing of the encoder is trained
  std::function<run_outcome(const base_model&, const encoded_set&, const training_settings&,
                            const run_definition&)>
      run;
};

// Every method, in the order of the tables.
std::vector<method_entry> all_methods();

// The parts of that list; each is defined in a file of its own.
using method_list = std::vector<method_entry>;
method_list full_fine_tuning();
method_list random_starts();
method_list orthonormal_start();
method_list weight_starts();
method_list preheated_starts();
method_list classic_preheating();
method_list train_b_preheating();
method_list gradient_start();
method_list input_start();
method_list boosted();
method_list merged_chain();
method_list one_factor_chain();
method_list preconditioned();
method_list masked();
method_list ablated();
method_list shared_factors();
method_list pruned();
method_list gated();

// A text that changes when the method gives other numbers on this machine: the validation loss after
// a short run on small batches, in full. Part of a run's definition, so that results of an older
// library, another build or another machine are never taken for this one's.
std::string fingerprint(const method_entry& m, const base_model& model, const encoded_set& set);

}  // namespace sentiment
