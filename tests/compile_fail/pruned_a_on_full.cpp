// expect: preheat: rank::pruned_a prunes a trained A; use an adapter that has one
#include <preheat/preheat.hpp>

using namespace preheat;

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(with<full_fine_tuning, rank::pruned_a<>>{}, net, net.batches(), {.rank = 2});
}
