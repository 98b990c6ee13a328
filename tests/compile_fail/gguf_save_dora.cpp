// expect: preheat: a GGUF adapter is plain LoRA, the factors A and B; merge(network, report) and save the
#include <preheat/adapter/dora.hpp>
#include <preheat/cpu/backend.hpp>
#include <preheat/gguf/save_adapter.hpp>
#include <preheat/nn/mlp.hpp>

int main() {
  using namespace preheat;
  cpu<float> be;
  nn::mlp<cpu<float>> net(be, {4, 3}, 1);
  const fit_report<cpu<float>, adapter::dora> report;
  gguf::save_adapter(report, net, "lora.gguf", {.architecture = "llama"});
}
