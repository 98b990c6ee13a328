// What is compared, seen from the driver: a list of methods, each a function that adapts the
// sentence encoder to a set of sentences. The list is studies/common/catalogue.txt; adapt.hpp makes a run.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "encoded.hpp"
#include "studies/common/catalogue.hpp"
#include "studies/common/results.hpp"

namespace studies::text {

using common::run_definition;
using common::run_outcome;

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

// `by_default`: in the reduced grid. Without a rate nothing of the encoder is trained.
using run_function = std::function<run_outcome(const base_model&, const encoded_set&,
                                               const training_settings&, const run_definition&)>;
using method_entry = common::method_entry<run_function>;

// Every method, in the order of the tables.
std::vector<method_entry> all_methods();

// A text that changes when the method gives other numbers on this machine: the validation loss after
// a short run on small batches, in full. Part of a run's definition, so that results of an older
// library, another build or another machine are never taken for this one's.
std::string fingerprint(const method_entry& m, const base_model& model, const encoded_set& set);

}  // namespace studies::text
