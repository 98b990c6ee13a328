// expect: preheat: init::hrp reads the product B*A of its preheating method; give it one with factors
#include "paper.hpp"

int main() {
  preheat::init::hrp<preheat::full_fine_tuning> wrong;
}
