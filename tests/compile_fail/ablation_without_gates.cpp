// expect: preheat: rank::ablation closes gates to see what they do; use adapter::gated<adapter::gate
#include <preheat/preheat.hpp>

using namespace preheat;

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(method<rank::ablation>{}, net, net.batches(), {.rank = 2}, {});
}
