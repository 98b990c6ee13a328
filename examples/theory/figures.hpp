// The curves as text and as pictures: lines are what the theory says, points what was measured.
#pragma once
#include <string>
#include <vector>

#include "../console/gnuplot.hpp"
#include "statements.hpp"

namespace theory {

std::string csv_of(const std::vector<series>& figures);
std::vector<console::picture> pictures_of(const std::vector<series>& figures);

}  // namespace theory
