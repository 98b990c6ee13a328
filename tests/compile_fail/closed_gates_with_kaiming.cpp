// expect: preheat: an adapter that starts closed learns nothing unless the init sets both factors
#include "paper.hpp"

int main() {
  preheat::method<preheat::adapter::gated<preheat::adapter::gate::closed>> wrong;
}
