// An adapter of one format as plain LoRA in another; what `convert` does without --initial.
#pragma once
#include "commands.hpp"

namespace apps::adapter {

void convert_style(const convert_options& options);

}  // namespace apps::adapter
