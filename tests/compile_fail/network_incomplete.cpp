// expect: preheat: the network lacks a member of concept network (core/concepts.hpp)
#include <preheat/preheat.hpp>

using namespace preheat;

// A network that cannot be trained: it has no loss_and_gradient.
struct constant_loss {
  using backend_type = cpu<float>;
  struct batch_type {};

  cpu<float> be;
  std::vector<layer<cpu<float>>> body;

  cpu<float>& backend() { return be; }
  std::span<layer<cpu<float>>> layers() { return body; }
  template <class Lin>
  float loss(const batch_type&, Lin& lin) {
    lin.begin(pass::evaluation);
    return 1;
  }
};
struct no_batches {
  void draw(const generator&, index_t, constant_loss::batch_type&) const {}
};

int main() {
  constant_loss net;
  fit(lora{}, net, no_batches{}, {.rank = 2});
}
