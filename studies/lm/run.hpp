// The whole program but the reading of its command line.
#pragma once
#include "options.hpp"
#include "studies/common/grid.hpp"

namespace studies::lm {

// Returns the exit status. Throws std::exception for what cannot be read, written or trained.
int run_all(const options& wanted, const common::workers& all = {});

}  // namespace studies::lm
