// expect: preheat: the network lacks a member of concept network (core/network.hpp; the note below names it)
#include "paper.hpp"

using namespace preheat;

// The loss is a number of the backend, and this one is a string.
struct constant_loss {
  using backend_type = paper;
  struct batch_type {};

  paper be;
  std::vector<base_layer<paper>> body;

  paper& backend() { return be; }
  std::span<base_layer<paper>> layers() { return body; }
  template <class Linear>
  const char* loss(const batch_type&, Linear& linear) {
    linear.begin(pass_kind::evaluation);
    return "small";
  }
  template <class Linear>
  float loss_and_gradient(const batch_type&, Linear& linear) {
    linear.begin(pass_kind::training);
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
