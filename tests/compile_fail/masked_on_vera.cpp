// expect: preheat: optim::masked masks the ranks of A and B, and this adapter trains neither
#include <preheat/preheat.hpp>

using namespace preheat;

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(with<vera, optim::masked<>>{}, net, net.batches(), {.rank = 2});
}
