// expect: preheat: optim::scaled preconditions a pair (A, B); use an adapter that holds one
#include <preheat/preheat.hpp>

using namespace preheat;

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(with<vera, optim::scaled<>>{}, net, net.batches(), {.rank = 2});
}
