// expect: 'step'
#include "paper.hpp"

using namespace preheat;

int main() {
  hrp<> preheated{.init = {.step = 5}};
  return int(preheated.init.steps.value_or(0));
}
