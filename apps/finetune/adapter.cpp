#include "adapter.hpp"

#include <preheat/gguf/load_adapter.hpp>
#include <preheat/peft/load.hpp>

namespace apps::finetune {

any_adapter load_adapter(const std::filesystem::path& path, network& net) {
  if (path.extension() == ".gguf") {
    return preheat::gguf::load_adapter(path, net);
  }
  const preheat::peft::reader adapter(path);
  const auto& layers = adapter.layers();
  if (!layers.empty() && !layers.front().magnitude.empty()) {
    return preheat::peft::load<preheat::adapter::dora>(path, net);
  }
  if (!layers.empty() && !layers.front().bias.empty()) {
    return preheat::peft::load<preheat::adapter::lora_bias>(path, net);
  }
  return preheat::peft::load(path, net);
}

namespace {

// f of the network's operators with the adapter.
template <class F>
double with_adapter(const any_adapter& adapter, network& net, F f) {
  return std::visit(
      [&](const auto& report) {
        auto linear = attach(net, report);
        any_linear any(linear);
        return f(any);
      },
      adapter);
}

}  // namespace

double loss_with(const any_adapter& adapter, network& net, const network::batch_type& batch) {
  return with_adapter(adapter, net,
                      [&](any_linear& linear) { return net.mean_loss(batch, linear); });
}

double accuracy_with(const any_adapter& adapter, network& net, const network::batch_type& batch) {
  return with_adapter(adapter, net,
                      [&](any_linear& linear) { return net.accuracy(batch, linear); });
}

void merge_adapter(const any_adapter& adapter, network& net) {
  std::visit([&](const auto& report) { merge(net, report); }, adapter);
}

}  // namespace apps::finetune
