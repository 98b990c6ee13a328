// expect: preheat: init::hrp promises to leave W alone; its warm method must neither absorb W
#include <preheat/preheat.hpp>

int main() {
  preheat::init::hrp<preheat::pissa> wrong;
}
