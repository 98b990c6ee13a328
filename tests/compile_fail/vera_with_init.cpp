// expect: preheat: this adapter is not made of factors and takes no init; drop the init
#include <preheat/preheat.hpp>

using namespace preheat;

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(with<vera, init::pissa>{}, net, net.batches(), {.rank = 2});
}
