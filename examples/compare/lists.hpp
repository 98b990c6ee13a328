// The lists that all_methods() is made of, a file each, so that none takes long to compile.
#pragma once
#include <vector>

#include "methods.hpp"

namespace comparison {

std::vector<method_entry> list_inits();
std::vector<method_entry> list_methods();
std::vector<method_entry> list_further();
std::vector<method_entry> list_equal_norm(double norm);

}  // namespace comparison
