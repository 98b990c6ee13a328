// expect: preheat: optim::regularized wants the factors A and B themselves
#include <preheat/preheat.hpp>

using namespace preheat;

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(with<prolora, optim::regularized<>>{}, net, net.batches(), {.rank = 2});
}
