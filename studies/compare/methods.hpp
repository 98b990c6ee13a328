// What is compared, seen from the driver: a list of methods, each a function that adapts a
// pretrained base to a shift. The list is studies/common/catalogue.txt, the training is in
// studies/digits/adapt.hpp.
#pragma once
#include <vector>

#include "studies/common/catalogue.hpp"
#include "studies/common/results.hpp"
#include "studies/digits/classifier.hpp"

namespace studies::compare {

using namespace common;
using namespace digits;

using method_entry = common::method_entry<run_function>;

// Every method; with row_norm > 0 also the inits of product zero with all directions of that norm,
// so that directions can be compared apart from their size.
std::vector<method_entry> all_methods(double row_norm);

}  // namespace studies::compare
