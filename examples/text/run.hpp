// The whole program but the reading of its command line.
#pragma once
#include "../compare/grid.hpp"
#include "options.hpp"

namespace sentiment {

// Returns the exit status. Throws std::exception for what cannot be read, written or trained.
int run_all(const options& wanted, const comparison::staff& all = {});

}  // namespace sentiment
