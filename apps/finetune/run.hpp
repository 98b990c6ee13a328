// The commands of preheat-finetune.
#pragma once
#include "options.hpp"

namespace apps::finetune {

// Both return the exit status. Errors: std::exception for what cannot be read, trained or written.
int finetune(const training_options& o);
int generate(const generating_options& o);

}  // namespace apps::finetune
