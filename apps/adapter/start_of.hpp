// One layer's start, for `init` and for callers that have the weight in memory.
#pragma once
#include <preheat/core/init.hpp>
#include <preheat/cpu/backend.hpp>

#include "commands.hpp"

namespace apps::adapter {

// The factors that the options' kind of start gives for the weight W of a site, out×in.
preheat::factors<preheat::cpu<float>> start_of(
    preheat::cpu<float>& be, const init_options& o,
    const preheat::target_layer<preheat::cpu<float>>& site);

}  // namespace apps::adapter
