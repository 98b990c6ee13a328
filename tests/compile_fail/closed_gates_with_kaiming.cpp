// expect: preheat: an adapter with zero_at_start learns nothing unless the init sets both factors
#include "paper.hpp"

int main() {
  preheat::method<preheat::adapter::gated<preheat::adapter::gate::closed>> wrong;
}
