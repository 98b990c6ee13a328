// expect: preheat: optim::proximal shrinks learned gates; use adapter::gated<>
#include <preheat/preheat.hpp>

using namespace preheat;

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(method<optim::proximal<>, adapter::gated<adapter::gate::open>>{}, net, net.batches(),
      {.rank = 2});
}
