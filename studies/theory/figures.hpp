// The curves as text and as pictures: lines are what the theory says, points what was measured.
#pragma once
#include <string>
#include <vector>

#include "apps/console/gnuplot.hpp"
#include "statements.hpp"

namespace studies::theory {

std::string csv_of(const std::vector<series>& figures);
std::vector<apps::console::picture> pictures_of(const std::vector<series>& figures);

}  // namespace studies::theory
