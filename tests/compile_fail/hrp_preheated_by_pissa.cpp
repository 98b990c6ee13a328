// expect: preheat: init::hrp leaves W unchanged, so its preheating method
#include "paper.hpp"

int main() {
  preheat::init::hrp<preheat::pissa> wrong;
}
