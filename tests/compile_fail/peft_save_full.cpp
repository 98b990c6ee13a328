// expect: preheat: a PEFT folder holds the factors A and B, and this adapter has none; merge(network, report)
#include <preheat/adapter/full.hpp>
#include <preheat/cpu/backend.hpp>
#include <preheat/nn/mlp.hpp>
#include <preheat/peft/save.hpp>

int main() {
  using namespace preheat;
  cpu<float> be;
  nn::mlp<cpu<float>> net(be, {4, 3}, 1);
  const fit_report<cpu<float>, adapter::full> report;
  peft::save(report, net, "adapter");
}
