// expect: preheat: both inits of init::first_then start from the same product
#include "paper.hpp"

int main() {
  preheat::init::first_then<preheat::init::hrp<>, preheat::init::pissa> wrong;
}
