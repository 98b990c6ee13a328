// expect: preheat: this adapter is not made of factors and takes no init; drop the init
#include "paper.hpp"

int main() {
  preheat::method<preheat::adapter::full, preheat::init::pissa> wrong;
}
