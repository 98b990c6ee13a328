// expect: preheat: optim::regularized pushes A and B towards orthonormal factors, and this adapter trains neither
#include <preheat/preheat.hpp>

using namespace preheat;

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(with<vera, optim::regularized<>>{}, net, net.batches(), {.rank = 2});
}
