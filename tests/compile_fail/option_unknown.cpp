// expect: 'alpha'
#include "paper.hpp"

using namespace preheat;

int main() {
  fit_options options{.rank = 2, .alpha = 16};
  return int(options.rank);
}
