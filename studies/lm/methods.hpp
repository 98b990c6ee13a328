// What is compared, seen from the driver: a list of methods, each a function that adapts the language
// model to definitions. The list is studies/common/catalogue.txt; adapt.hpp makes a run.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "examples.hpp"
#include "studies/common/catalogue.hpp"
#include "studies/common/results.hpp"

namespace studies::lm {

using common::run_definition;
using common::run_outcome;

class base_model;  // model.hpp

// What a start has in place of its method's own setting; 0: the method's own.
struct start_variant {
  double row_norm = 0;       // of all directions
  int preheat_multiple = 0;  // the rank R of preheating, over the run's rank
  int preheat_steps = 0;
  bool operator==(const start_variant&) const = default;
};

// What all methods share.
struct training_settings {
  int steps = 48;            // of every method, whatever it spends them on
  int batch = 8;             // definitions
  double scaling = 2;        // s of ΔW = s·B·A
  double warmup = 0.06;      // of the steps: the rate rises, then falls linearly to 0
  double most_gradient = 1;  // norm at which gradients are clipped
  int training_points = 12;  // of the curve of the training loss
  int samples = 6;           // definitions that the trained model writes
  int sample_tokens = 24;    // each at most so long
  bool why = false;          // measure what explains a start, too
  start_variant start{};     // of the method that runs
};

// The settings as text, for a run's definition.
std::string to_text(const training_settings& s);

// Names of what a run measures besides losses: run_outcome::measures.
inline constexpr const char* drift_loss = "drift_loss";
inline constexpr const char* tokens_per_second = "tokens_per_second";
inline constexpr const char* peak_memory = "peak_memory_mb";
// With training_settings::why (why.hpp). Of the start: the largest eigenvalue of the loss's Hessian in the
// adapter's parameters, the smallest one found, and how near some eigenvalue is to the largest.
inline constexpr const char* start_curvature = "start_curvature";
inline constexpr const char* start_smallest = "start_smallest_eigenvalue";
inline constexpr const char* start_curvature_error = "start_curvature_error";
// The share of full fine-tuning's change in the directions of A, before and after training.
inline constexpr const char* full_share_at_start = "full_share_at_start";
inline constexpr const char* full_share_at_end = "full_share_at_end";
inline constexpr double why_full_rate = 1e-4;
// Of the preheated product: the share of its energy in as many directions as the rank, and how many it has.
inline constexpr const char* preheated_share = "preheated_share";
inline constexpr const char* preheated_directions = "preheated_directions";

// What the program computes with: "cpu<float>, OpenBLAS …".
std::string describe_backend();

// `by_default`: in the reduced grid. Without a rate nothing is trained.
using run_function = std::function<run_outcome(const base_model&, const data_set&,
                                               const training_settings&, const run_definition&)>;
using method_entry = common::method_entry<run_function>;

// Every method, in the order of the tables.
std::vector<method_entry> all_methods();

// A text that changes when the method gives other numbers on this machine: the validation loss after
// a few steps on small batches, in full. Part of a run's definition, so that results of an older
// library, another build or another machine are never taken for this one's.
std::string fingerprint(const method_entry& m, const base_model& model, const data_set& set);

}  // namespace studies::lm
