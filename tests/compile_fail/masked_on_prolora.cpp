// expect: preheat: optim::masked picks ranks, and this adapter shares its parameters between ranks
#include <preheat/preheat.hpp>

using namespace preheat;

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(with<prolora, optim::masked<>>{}, net, net.batches(), {.rank = 2});
}
