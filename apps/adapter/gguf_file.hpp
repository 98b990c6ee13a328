// Plain LoRA as llama.cpp's GGUF adapter.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include <preheat/gguf/adapter_tensors.hpp>
#include <preheat/gguf/row_order.hpp>
#include <preheat/gguf/writer.hpp>
#include <preheat/peft/adapter_plan.hpp>

#include "outputs.hpp"
#include "styles.hpp"

namespace apps::adapter {

// llama.cpp's file: one alpha, so what differs from it goes into B.
class gguf_file {
 public:
  gguf_file(const convert_options& o, const base_model* base) : base_(base), stored_(o.stored) {
    architecture_ = o.architecture;
    if (architecture_.empty() && base != nullptr && base->config().is_object()) {
      architecture_ = base->config().value("model_type", "");
      architecture_ = architecture_ == "mistral" ? "llama" : architecture_;
    }
    refuse_if(
        architecture_.empty(),
        "convert: a GGUF file says which architecture it is for; say --architecture or --base");
    preheat::gguf::tensor_names(architecture_);  // refuses an unknown one
    file_.metadata().set("general.architecture", architecture_);
    file_.metadata().set("general.type", "adapter");
    file_.metadata().set("adapter.type", "lora");
  }
  void add(const styled_layer& s, const peft::planned_layer& p, const stored_factors<double>& f) {
    const auto name = preheat::gguf::gguf_name(architecture_, s.module.name + ".weight");
    refuse_if(!name, "convert: module " + s.module.name + " has no name in GGUF files of " +
                         architecture_);
    if (alpha_ == 0) {
      alpha_ = double(float(p.layer.scaling * double(s.rank)));
      refuse_if(alpha_ == 0, "convert: the scale of " + s.module.name + " is 0");
      file_.metadata().set("adapter.lora.alpha", float(alpha_));
    }
    const double factor = p.layer.scaling * double(s.rank) / alpha_;
    const bool pairs = preheat::gguf::detail::has_rows_in_pairs(architecture_, s.module.name);
    const index_t head =
        pairs ? head_size(base_, "convert: the rows of " + *name + " go in pairs") : 0;
    std::vector<double> B(std::size_t(p.layer.out * s.rank));
    for (index_t i = 0; i < p.layer.out; ++i) {
      const index_t to = head > 0 ? preheat::gguf::rows_in_pairs(head)(i) : i;
      for (index_t j = 0; j < s.rank; ++j) {
        B[std::size_t(to * s.rank + j)] = factor * f.Bt.data()[j + i * f.Bt.ld()];
      }
    }
    const auto type = p.A_type == safetensors::dtype::F16    ? preheat::gguf::tensor_type::F16
                      : p.A_type == safetensors::dtype::BF16 ? preheat::gguf::tensor_type::BF16
                                                             : preheat::gguf::tensor_type::F32;
    file_.add<double>(*name + ".lora_a", {s.rank, p.layer.in},
                      {f.At.data(), std::size_t(s.rank * p.layer.in)}, type);
    file_.add<double>(*name + ".lora_b", {p.layer.out, s.rank}, B, type);
  }
  void write(const std::filesystem::path& path) { file_.write(path); }

 private:
  const base_model* base_;
  std::optional<safetensors::dtype> stored_;
  std::string architecture_;
  double alpha_ = 0;
  preheat::gguf::writer file_;
};

}  // namespace apps::adapter
