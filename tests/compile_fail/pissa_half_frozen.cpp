// expect: preheat: an init that sets both factors (init::pissa) needs an adapter that trains both
#include "paper.hpp"

int main() {
  using train_b = preheat::adapter::asymmetric<preheat::parameter_role::B>;
  preheat::method<preheat::init::pissa, train_b> wrong;
}
