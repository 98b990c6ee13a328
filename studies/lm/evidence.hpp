// Tables of kept runs, from any number of commands: what docs/evidence.md has of the language model.
#pragma once
#include <string>
#include <vector>

#include "methods.hpp"

namespace studies::lm {

// Markdown: what all runs together say (overview.hpp), then the tables of every condition (conditions.hpp), one row
// per method. A rate with less than half as many seeds as the method's others is shown, and chooses nothing. Methods come in the
// order of `known`, variants after their method. A run that another machine has made too counts once (without_repeats).
std::string evidence_of(const std::vector<common::run_record>& runs,
                        const std::vector<method_entry>& known);

}  // namespace studies::lm
