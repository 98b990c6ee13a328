// A guess at a learning rate, by the curvature of the loss at a method's start.
#pragma once
#include "material.hpp"

namespace apps::finetune {

// The curvature of the loss at a method's start, on the first batch (train/curvature.hpp). Cost: some 25
// training passes, and the start, which a run makes once more. Errors: invalid_argument: the method trains
// no pair of factors on a base.
double curvature_of_start(material& m, const method_entry& method);

// The rate for a start of this curvature: LoRA's default rate times the curvature of LoRA's start over it.
// It says what it has found. That the best rate falls as the curvature rises is observed; that it does so in
// proportion holds for gradient descent on a quadratic, and for AdamW nothing is published: it is a first
// rate for a sweep, not a tuned one.
double suggested_rate(double here, double of_lora);

}  // namespace apps::finetune
