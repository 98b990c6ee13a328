// expect: preheat: an init that sets both factors (init::pissa) needs an adapter that trains both
#include "paper.hpp"

int main() {
  preheat::with<preheat::prolora, preheat::init::pissa> wrong;
}
