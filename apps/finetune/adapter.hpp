// What a run leaves and a command saves, loads and merges: adapters of the kinds that PEFT has.
#pragma once
#include <filesystem>
#include <string>
#include <variant>

#include <preheat/adapter/dora.hpp>
#include <preheat/adapter/lora.hpp>
#include <preheat/adapter/lora_bias.hpp>
#include <preheat/train/report.hpp>

#include "network.hpp"

namespace apps::finetune {

template <class Adapter>
using adapter_report = preheat::fit_report<Be, Adapter>;

// Every other kind of adapter is in a folder as the factors of its product, which is plain LoRA.
using any_adapter =
    std::variant<adapter_report<preheat::adapter::lora>, adapter_report<preheat::adapter::dora>,
                 adapter_report<preheat::adapter::lora_bias>>;

// A PEFT folder or a GGUF file, for this network. Errors: io_error.
any_adapter load_adapter(const std::filesystem::path& path, network& net);

// The mean loss of a batch through the network with the adapter.
double loss_with(const any_adapter& adapter, network& net, const network::batch_type& batch);

// The share of a batch's texts whose class an encoder with the adapter names.
double accuracy_with(const any_adapter& adapter, network& net, const network::batch_type& batch);

// W += ΔW.
void merge_adapter(const any_adapter& adapter, network& net);

}  // namespace apps::finetune
