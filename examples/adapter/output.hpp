// Writes an adapter layer by layer, in the layout of the one it was made from: a PEFT folder or a kohya
// file, which appear whole or not at all.
#pragma once
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <preheat/io/atomic_folder.hpp>
#include <preheat/io/peft_adapter.hpp>
#include <preheat/io/safetensors_writer.hpp>

#include "factors.hpp"

namespace adapters {

// A layer of the result. Names and shapes are those of `layer`, but for the rank; s = layer.scaling.
struct planned_layer {
  io::peft_layer layer;
  std::vector<index_t> A_shape;
  std::vector<index_t> B_shape;
  io::dtype A_type = io::dtype::F32;
  io::dtype B_type = io::dtype::F32;
};

// A tensor that goes from one file to the other as it is.
struct copied_tensor {
  const io::tensor_files* from = nullptr;
  std::string name;
};

struct adapter_plan {
  std::optional<io::peft_config> config;  // none: a kohya file
  std::vector<planned_layer> layers;
  std::vector<copied_tensor> copied;
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
};

// The layer as a source has it, at another rank and scale, stored as `type` if that is given.
inline planned_layer planned_like(const io::peft_adapter& adapter, const io::peft_layer& layer,
                                  index_t rank, double scaling, std::optional<io::dtype> type) {
  const io::tensor_info& A = adapter.files().info(layer.A);
  const io::tensor_info& B = adapter.files().info(layer.B);
  planned_layer p{layer, A.shape, B.shape, type.value_or(A.type), type.value_or(B.type)};
  p.layer.rank = rank;
  p.layer.scaling = scaling;
  p.A_shape[0] = rank;
  p.B_shape[1] = rank;
  return p;
}

// Throws unless nothing has that name.
inline void require_absent(const std::filesystem::path& out) {
  if (std::filesystem::exists(std::filesystem::symlink_status(out))) {
    throw preheat::io_error(out.string() + ": exists already; nothing is overwritten");
  }
}

// Ranks and scales into the config or the file's strings.
inline void set_ranks(adapter_plan& plan) {
  std::set<index_t> ranks;
  std::vector<io::module_rank> modules;
  for (planned_layer& p : plan.layers) {
    const double alpha = plan.config ? plan.config->alpha_for(p.layer.scaling, p.layer.rank)
                                     : p.layer.scaling * double(p.layer.rank);
    modules.push_back({p.layer.module, p.layer.rank, alpha});
    ranks.insert(p.layer.rank);
  }
  if (plan.config) {
    plan.config->set_ranks(modules);
    plan.config->set("init_lora_weights", true);  // anything else starts anew on loading
    return;
  }
  for (planned_layer& p : plan.layers) {
    p.layer.alpha = p.layer.module + ".alpha";
  }
  if (plan.metadata.contains("ss_network_dim")) {
    plan.metadata["ss_network_dim"] =
        ranks.size() == 1 ? std::to_string(*ranks.begin()) : "Dynamic";
  }
  if (plan.metadata.contains("ss_network_alpha")) {
    plan.metadata["ss_network_alpha"] =
        ranks.size() == 1 ? std::to_string(modules[0].alpha) : "Dynamic";
  }
}

inline std::vector<io::planned_tensor> tensors_of(const adapter_plan& plan) {
  std::vector<io::planned_tensor> tensors;
  for (const planned_layer& p : plan.layers) {
    tensors.push_back({p.layer.A, p.A_type, p.A_shape});
    tensors.push_back({p.layer.B, p.B_type, p.B_shape});
    if (!p.layer.bias.empty()) {
      tensors.push_back({p.layer.bias, p.B_type, {p.layer.out}});
    }
    if (!p.layer.alpha.empty()) {
      tensors.push_back({p.layer.alpha, io::dtype::F32, {}});
    }
  }
  for (const copied_tensor& c : plan.copied) {
    const io::tensor_info& info = c.from->info(c.name);
    tensors.push_back({c.name, info.type, info.shape});
  }
  return tensors;
}

inline std::size_t bytes_of(const adapter_plan& plan) {
  std::size_t bytes = 0;
  for (const io::planned_tensor& t : tensors_of(plan)) {
    bytes += io::detail::checked_byte_count(t.name, t.type, t.shape);
  }
  return bytes;
}

// Threads may write different layers at the same time.
class adapter_writer {
 public:
  // Errors: `out` exists, or cannot be created.
  adapter_writer(const std::filesystem::path& out, const adapter_plan& plan) : plan_(plan) {
    require_absent(out);
    std::filesystem::path file = out;
    if (plan.config) {
      folder_.emplace(out);
      plan.config->write(folder_->path() / "adapter_config.json");
      file = folder_->path() / "adapter_model.safetensors";
    }
    stream_.emplace(file, tensors_of(plan), plan.metadata);
  }

  // Layer i of the plan; the bias, if it has one, is out×1.
  template <class T>
  void write(std::size_t i, view<const T> At, view<const T> Bt, view<const T> bias = {}) {
    const planned_layer& p = plan_.layers[i];
    preheat::require(
        At.size() == p.layer.rank * p.layer.in && Bt.size() == p.layer.rank * p.layer.out,
        "factors have the planned shapes", At.size(), p.layer.rank * p.layer.in);
    stream_->write(p.layer.A, io::rows_as_bytes(p.layer.A, At, p.A_type));
    stream_->write(p.layer.B, io::rows_as_bytes(p.layer.B, Bt, p.B_type));
    if (!p.layer.bias.empty()) {
      stream_->write(p.layer.bias, io::rows_as_bytes(p.layer.bias, bias, p.B_type));
    }
    if (!p.layer.alpha.empty()) {
      const float alpha = float(p.layer.scaling * double(p.layer.rank));
      stream_->write(p.layer.alpha, std::as_bytes(std::span(&alpha, 1)));
    }
  }

  // After the last layer.
  void commit() {
    for (const copied_tensor& c : plan_.copied) {
      stream_->write(c.name, c.from->info(c.name).bytes);
      c.from->release(c.name);
    }
    stream_->commit();
    if (folder_) {
      folder_->commit();
    }
  }

 private:
  const adapter_plan& plan_;
  std::optional<io::atomic_folder> folder_;
  std::optional<io::safetensors_stream> stream_;
};

}  // namespace adapters
