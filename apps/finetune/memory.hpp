// What a command takes in memory, computed before it begins, so that what cannot fit is refused in time.
#pragma once
#include <filesystem>
#include <string>

#include "material.hpp"

namespace apps::finetune {

// Bytes, by what holds them.
struct memory_statement {
  double program = 0;      // code, libraries and their buffers
  double weights = 0;      // frozen ones, and the copy that a method changes
  double adapters = 0;     // parameters, gradients and moments, at the start or later
  double activations = 0;  // of the largest batch

  double all() const { return program + weights + adapters + activations; }
  // "about 1.61 GB: weights 0.54, adapters 0.02, activations 1.00, program 0.05"
  std::string describe() const;
};

// Of a run of this method, from the model's config and the examples' lengths.
memory_statement memory_of(const material& m, const method_entry& method);

// Errors: invalid_argument: the frozen weights alone are more than may be taken. The model is not read.
void require_weights_fit(const training_options& o, bool encoder);
// Errors: invalid_argument: the whole is more. `held` bytes are taken already.
void require_fits(const memory_statement& wanted, const training_options& o, double held);

}  // namespace apps::finetune
