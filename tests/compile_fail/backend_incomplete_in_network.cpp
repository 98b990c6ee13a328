// expect: preheat: the backend lacks a member of concept backend (core/backend.hpp; the note below names it)
// note: be.gemm(
#include "paper.hpp"

using namespace preheat;

struct no_products : paper {
  void gemm() = delete;
};
struct constant_loss {
  using backend_type = no_products;
  struct batch_type {};

  no_products be;
  std::vector<base_layer<no_products>> body;

  no_products& backend() { return be; }
  std::span<base_layer<no_products>> layers() { return body; }
  template <class Linear>
  float loss(const batch_type&, Linear& linear) {
    linear.begin(pass_kind::evaluation);
    return 1;
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
