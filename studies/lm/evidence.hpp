// Tables of kept runs, from any number of commands: what docs/evidence.md has of the language model.
#pragma once
#include <string>
#include <vector>

#include "methods.hpp"

namespace studies::lm {

// Markdown: what all runs together say (overview.hpp), then the tables of every condition (conditions.hpp), a
// row a method. A rate with fewer seeds than the method's others is shown, and chooses nothing.
std::string evidence_of(const std::vector<common::run_record>& runs,
                        const std::vector<method_entry>& known);

}  // namespace studies::lm
