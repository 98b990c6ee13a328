// expect: preheat: init::first_then takes an init that learns from the data (init::hrp<>) and then
#include "paper.hpp"

int main() {
  preheat::init::first_then<preheat::init::kaiming, preheat::init::orthogonal> wrong;
}
