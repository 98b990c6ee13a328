// expect: preheat: a method is made of policies, types that name their axis
#include "paper.hpp"

// A policy without `using axis = axes::init;`.
struct nameless {};

int main() {
  preheat::method<nameless> wrong;
}
