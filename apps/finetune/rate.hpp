// A guess at a learning rate, by the curvature of the loss at a method's start.
#pragma once
#include "material.hpp"

namespace apps::finetune {

// The rate for this method: LoRA's default rate times the curvature of LoRA's start over that of this one
// (train/curvature.hpp), both on the first batch. It says what it has found. That the best rate falls as the
// curvature rises is observed; that it does so in proportion holds for gradient descent on a quadratic,
// and for AdamW nothing is published: it is a first rate for a sweep, not a tuned one. Cost: some 25
// training passes for each of the two, and the method's start, which a run makes once more.
// Errors: invalid_argument: the method trains no pair of factors on a base.
double suggested_rate(material& m, const method_entry& method, const method_entry& lora);

}  // namespace apps::finetune
