// expect: preheat: init::corda needs the covariance of the layer's input
#include <preheat/preheat.hpp>

int main() {
  preheat::cpu<float> be;
  const auto W = be.zeros(4, 3);
  preheat::init::corda{}(be, preheat::site<preheat::cpu<float>>{.W = W, .rank = 2});
}
