// expect: preheat: init::hrp needs preheated factors. Call fit(method, network, batches, options)
#include "paper.hpp"

int main() {
  paper be;
  const paper::matrix W = be.zeros(4, 3);
  const preheat::target_layer<paper> site{.W = W, .rank = 2};
  preheat::init::hrp<>{}(be, site);
}
