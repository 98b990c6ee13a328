// The commands of preheat-finetune.
#pragma once
#include <preheat/core/communicator.hpp>

#include "options.hpp"

namespace apps::finetune {

// Both return the exit status. Errors: std::exception for what cannot be read, trained or written.
// The processes share the batches of every run, and the first one writes.
int finetune(const training_options& o, const preheat::process_group& processes = {});
int generate(const generating_options& o);

}  // namespace apps::finetune
