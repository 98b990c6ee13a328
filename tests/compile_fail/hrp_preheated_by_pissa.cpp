// expect: preheat: init::hrp promises to leave W alone
#include "paper.hpp"

int main() {
  preheat::init::hrp<preheat::pissa> wrong;
}
