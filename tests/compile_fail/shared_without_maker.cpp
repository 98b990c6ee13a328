// expect: preheat: an adapter with the optional member shared<Be> needs `shared<Be> make_shared(Be&, layer_shape largest,
#include <preheat/preheat.hpp>

using namespace preheat;

struct unmade : adapter::vera {
  template <class Be>
  void make_shared(Be&, index_t) const {}
};

int main() {
  cpu<float> be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  fit(method<unmade>{}, net, net.batches(), {.rank = 2});
}
