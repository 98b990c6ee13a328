// expect: preheat: optim::lora_pro moves both factors; with one frozen use optim::scaled
#include <preheat/preheat.hpp>

using namespace preheat;

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(with<lora_pro, adapter::asymmetric<role::B>>{}, net, net.batches(), {.rank = 2});
}
