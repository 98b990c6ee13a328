// expect: preheat: init::corda needs the covariance of the layer's input
#include "paper.hpp"

int main() {
  paper be;
  const auto W = be.zeros(4, 3);
  preheat::init::corda{}(be, preheat::target_layer<paper>{.W = W, .rank = 2});
}
