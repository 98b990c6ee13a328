// expect: preheat: batches must have void draw(generator stream, index_t step, batch_type&)
#include <preheat/preheat.hpp>

using namespace preheat;

struct silent_batches {};

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(lora{}, net, silent_batches{}, {.rank = 2});
}
