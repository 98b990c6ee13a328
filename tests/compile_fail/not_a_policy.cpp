// expect: preheat: a method is made of policies, types that name their axis
#include <preheat/preheat.hpp>

// A policy without `using axis = axes::init;`.
struct nameless {
  using hooks = preheat::hook_list<>;
};

int main() {
  preheat::method<nameless> wrong;
}
