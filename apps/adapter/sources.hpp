// Refuses what a command cannot work on.
#pragma once
#include <string>

#include <preheat/peft/terms.hpp>

#include "factors.hpp"

namespace apps::adapter {

inline void require_plain(const peft::reader& adapter) {
  if (adapter.on_residual_base()) {
    std::string start;
    for (const peft::settings_part& part : adapter.settings()) {
      start = part.config.on_residual_base() ? part.config.init() : start;
    }
    throw preheat::invalid_argument(
        adapter.path().string() + ": init_lora_weights is \"" + start +
        "\", so this adapter belongs to a residual base; make it plain LoRA first: convert DIR "
        "--initial DIR0");
  }
}

}  // namespace apps::adapter
