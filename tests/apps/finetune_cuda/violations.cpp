// What the double of CUDA has seen that it does not refuse at once, such as a kernel that wrote beside its matrix, is
// said when the program ends.
#include <cstdio>

#include "cuda/double/control.hpp"

namespace {

struct at_the_end {
  ~at_the_end() {
    for (const std::string& violation : cuda_double::violations()) {
      std::fprintf(stderr, "cuda_double: %s\n", violation.c_str());
    }
  }
} const the_end;

}  // namespace
