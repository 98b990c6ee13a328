// expect: preheat: a method takes at most one policy per axis; compose optimizers by decoration
#include "paper.hpp"

int main() {
  preheat::method<preheat::optim::sgd, preheat::adapter::lora, preheat::optim::adamw> wrong;
}
