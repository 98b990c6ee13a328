// Tensors of a model from file to file.
#pragma once
#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "stream.hpp"
#include "tensor_files.hpp"

namespace preheat::safetensors {

// The tensors of a model as a file to write.
inline std::vector<planned_tensor> planned_tensors(const tensor_files& model) {
  std::vector<planned_tensor> planned;
  for (const auto& [name, tensor] : model.tensors()) {
    planned.push_back({name, tensor.type, tensor.shape});
  }
  return planned;
}

// Copies a tensor in pieces, so that little of it is in memory at a time.
inline void copy_tensor(const tensor_files& from, const std::string& name, stream& to,
                        const std::string& new_name) {
  constexpr std::size_t piece = 16'000'000;
  const std::span<const std::byte> bytes = from.info(name).bytes;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    to.write(new_name, bytes.subspan(at, std::min(piece, bytes.size() - at)), at);
    from.release(name);
  }
}
inline void copy_tensor(const tensor_files& from, const std::string& name, stream& to) {
  copy_tensor(from, name, to, name);
}

}  // namespace preheat::safetensors
