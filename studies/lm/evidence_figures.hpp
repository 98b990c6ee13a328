// The figures of docs/evidence.md on the language model.
#pragma once
#include <vector>

#include "apps/console/gnuplot.hpp"
#include "conditions.hpp"

namespace studies::lm {

// Of six kinds, each where there are runs for it: the difference to tuned Kaiming against the number of steps,
// the settings of preheating and the room under Kaiming; validation loss against the rate; drift against the
// difference; tuned against predicted rate.
std::vector<apps::console::picture> evidence_figures(const std::vector<run_record>& runs,
                                                     const std::vector<method_entry>& known);

}  // namespace studies::lm
