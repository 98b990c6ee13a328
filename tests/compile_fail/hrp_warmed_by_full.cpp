// expect: preheat: init::hrp reads the product B*A of its warm method; give it one with factors
#include <preheat/preheat.hpp>

int main() {
  preheat::init::hrp<preheat::full_fine_tuning> wrong;
}
