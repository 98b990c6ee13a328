// expect: preheat: rank::sparse_gate drops the ranks of closed gates; use adapter::gated<>
#include <preheat/preheat.hpp>

using namespace preheat;

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(method<rank::sparse_gate>{}, net, net.batches(), {.rank = 2});
}
