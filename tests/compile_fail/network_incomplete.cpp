// expect: preheat: the network lacks a member of concept network (core/network.hpp; the note below names it)
// note: net.loss_and_gradient(
#include <preheat/preheat.hpp>

using namespace preheat;

// A network that cannot be trained: it has no loss_and_gradient.
struct constant_loss {
  using backend_type = cpu<float>;
  struct batch_type {};

  cpu<float> be;
  std::vector<base_layer<cpu<float>>> body;

  cpu<float>& backend() { return be; }
  std::span<base_layer<cpu<float>>> layers() { return body; }
  template <class Linear>
  float loss(const batch_type&, Linear& linear) {
    linear.begin(pass_kind::evaluation);
    return 1;
  }
};
struct no_batches {
  void load(const generator&, index_t, constant_loss::batch_type&) const {}
};

int main() {
  constant_loss net;
  auto report = fit(lora{}, net, no_batches{}, {.rank = 2});
  return int(report.losses.size());
}
