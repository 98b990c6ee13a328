// expect: preheat: a method takes at most one policy an axis; compose optimizers by decoration
#include <preheat/preheat.hpp>

int main() {
  preheat::method<preheat::optim::sgd, preheat::adapter::lora, preheat::optim::adamw> wrong;
}
