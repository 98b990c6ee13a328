// expect: preheat: a PEFT folder holds adapter::lora, asymmetric, dora, lora_bias or vera; read it as one of these
#include <preheat/adapter/gated.hpp>
#include <preheat/cpu/backend.hpp>
#include <preheat/nn/mlp.hpp>
#include <preheat/peft/load.hpp>

int main() {
  using namespace preheat;
  cpu<float> be;
  nn::mlp<cpu<float>> net(be, {4, 3}, 1);
  peft::load<adapter::gated<>>("adapter", net);
}
