// The rows of studies/common/catalogue.txt as entries. Included only where methods are instantiated;
// the driver sees methods.hpp.
#pragma once
#include "adapt.hpp"
#include "methods.hpp"
#include "studies/common/catalogue_policies.hpp"
#include "studies/common/method_list.hpp"
#include "whitened.hpp"

namespace studies::lm {

using namespace common;  // the words of the catalogue

using catalogue = method_list<method_entry>;

// Adds the rows of the catalogue, in its order. Each part of it is a generated file, which calls the
// next one.
void add_part_0(catalogue& all);

}  // namespace studies::lm
