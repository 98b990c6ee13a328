// What all kept runs together say: tables over conditions and the sentences of docs/evidence.md.
#pragma once
#include <string>
#include <vector>

#include "conditions.hpp"

namespace studies::lm {

// Markdown, with "-" for minus.
std::string overview_of(const std::vector<condition>& conditions);

}  // namespace studies::lm
