// expect: designator
#include "paper.hpp"

using namespace preheat;

int main() {
  fit_options options{.steps = 100, .rank = 2};
  return int(options.rank);
}
