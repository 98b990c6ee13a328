// expect: preheat: an adapter with zero_at_start learns nothing unless the init sets both factors
#include "paper.hpp"

int main() {
  using closed = preheat::adapter::gated<preheat::adapter::gate::closed>;
  preheat::method<preheat::init::pissa, closed> wrong;
}
