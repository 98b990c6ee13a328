// Writes an adapter layer by layer: a PEFT folder or a kohya file, as its plan says. It appears whole
// when it is committed, or not at all.
#pragma once
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "../files/atomic_folder.hpp"
#include "../safetensors/stream.hpp"
#include "../safetensors/tensor_values.hpp"
#include "adapter_plan.hpp"

namespace preheat::peft {

// Threads may write different layers at the same time. The plan must outlive the writer.
//
// Errors: io_error if `out` exists or cannot be written; invalid_argument for a number that is too
// large for its dtype, or if commit() finds a tensor that was not written. Without commit() nothing is
// left behind.
//
//   preheat::peft::writer writer("adapter", plan);
//   writer.write<float>(0, At, Bt);
//   writer.commit();
class writer {
 public:
  writer(const std::filesystem::path& out, const adapter_plan& plan) : plan_(plan) {
    files::require_absent(out);
    std::filesystem::path file = out;
    if (plan.config) {
      folder_.emplace(out);
      plan.config->write(folder_->path() / "adapter_config.json");
      file = folder_->path() / "adapter_model.safetensors";
    }
    stream_.emplace(file, tensors_of(plan), plan.metadata);
  }

  // Layer i of the plan: Aᵀ (in×r) and Bᵀ (r×out), column-major, which is A and B row-major, as the
  // file has them; the bias of B, if the layer has one, is out×1.
  template <class T>
  void write(std::size_t i, view<const T> At, view<const T> Bt, view<const T> bias = {}) {
    const planned_layer& p = plan_.layers[i];
    require(At.size() == p.layer.rank * p.layer.in && Bt.size() == p.layer.rank * p.layer.out,
            "factors have the planned shapes", At.size(), p.layer.rank * p.layer.in);
    stream_->write(p.layer.A, safetensors::rows_as_bytes(p.layer.A, At, p.A_type));
    stream_->write(p.layer.B, safetensors::rows_as_bytes(p.layer.B, Bt, p.B_type));
    if (!p.layer.bias.empty()) {
      stream_->write(p.layer.bias, safetensors::rows_as_bytes(p.layer.bias, bias, p.B_type));
    }
    if (!p.layer.alpha.empty()) {
      const float alpha = float(kohya_alpha(p));
      stream_->write(p.layer.alpha, std::as_bytes(std::span(&alpha, 1)));
    }
  }

  // One of the plan's further tensors: the rows of the tensor are the columns of `values`.
  template <class T>
  void write_further(const std::string& name, view<const T> values) {
    const auto planned = std::find_if(plan_.further.begin(), plan_.further.end(),
                                      [&](const auto& t) { return t.name == name; });
    require(planned != plan_.further.end(), "tensor " + files::in_quotes(name) + " is in the plan");
    stream_->write(name, safetensors::rows_as_bytes(name, values, planned->type));
  }

  // After the last layer: copies what the plan says, and makes the adapter appear.
  void commit() {
    for (const copied_tensor& c : plan_.copied) {
      copy(c);
      c.from->release(c.name);
    }
    stream_->commit();
    if (folder_) {
      folder_->commit();
    }
  }

 private:
  // A tensor as it is, or in the plan's type, some entries at a time.
  void copy(const copied_tensor& c) {
    const safetensors::tensor_info& info = c.from->info(c.name);
    const safetensors::dtype type = stored_type(plan_, c);
    if (type == info.type) {
      stream_->write(c.as, info.bytes);
      return;
    }
    constexpr index_t most = 1'000'000;
    std::vector<double> piece(std::size_t(std::min(most, info.count())));
    for (index_t first = 0; first < info.count(); first += most) {
      const view<double> some(piece.data(), std::min(most, info.count() - first), 1);
      safetensors::read_rows<double>(c.name, info, first, some);
      stream_->write(c.as, safetensors::rows_as_bytes<double>(c.name, some, type),
                     std::size_t(first * safetensors::size_of(type)));
    }
  }

  const adapter_plan& plan_;
  std::optional<files::atomic_folder> folder_;
  std::optional<safetensors::stream> stream_;
};

}  // namespace preheat::peft
