// expect: preheat: init::hrp needs preheated factors. Call fit(method, network, batches, options)
#include <preheat/preheat.hpp>

int main() {
  preheat::cpu<float> be;
  const preheat::cpu_matrix<float> W = be.zeros(4, 3);
  const preheat::site<preheat::cpu<float>> site{.W = W, .rank = 2};
  preheat::init::hrp<>{}(be, site);
}
