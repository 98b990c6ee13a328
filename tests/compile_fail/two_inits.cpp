// expect: preheat: a method takes at most one policy per axis; compose optimizers by decoration
#include <preheat/preheat.hpp>

int main() {
  preheat::method<preheat::init::pissa, preheat::init::kaiming> wrong;
}
