// expect: preheat: init::eva needs the components of the layer's input
#include <preheat/preheat.hpp>

int main() {
  preheat::cpu<float> be;
  const auto W = be.zeros(4, 3);
  preheat::init::eva{}(be, preheat::site<preheat::cpu<float>>{.W = W, .rank = 2});
}
