// expect: preheat: optim::lora_pro moves a pair (A, B) together; use adapter::lora
#include <preheat/preheat.hpp>

using namespace preheat;

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(with<lora_pro_factored, adapter::prolora>{}, net, net.batches(), {.rank = 2});
}
