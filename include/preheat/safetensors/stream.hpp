// Writes a .safetensors file piece by piece.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../files/atomic_file.hpp"
#include "layout.hpp"

namespace preheat::safetensors {

// A file that is written piece by piece: the header from the tensors' shapes, then their bytes in
// any order, by any thread. The file appears when it is committed, or not at all.
//
// Errors: invalid_argument if a name is used twice, is "__metadata__" or is not UTF-8, if bytes go
// beyond their tensor, if commit() finds a tensor that is not whole; io_error as atomic_file.
// Cost: the bytes are neither kept nor copied in this program.
//
//   preheat::safetensors::stream stream("a.safetensors", {{"w", preheat::safetensors::dtype::F32, {2, 3}}});
//   stream.write("w", std::as_bytes(std::span(values)));
//   stream.commit();
class stream {
 public:
  stream(const std::filesystem::path& path, std::vector<planned_tensor> tensors,
         const std::map<std::string, std::string>& metadata = {})
      : file_(path) {
    std::sort(tensors.begin(), tensors.end(), detail::lies_before);
    const std::string header = detail::header_text(tensors, metadata);
    const std::uint64_t length = header.size();
    std::size_t place = sizeof length + header.size();
    for (const planned_tensor& tensor : tensors) {
      const std::size_t bytes = detail::checked_byte_count(tensor.name, tensor.type, tensor.shape);
      if (tensor.name == detail::metadata_key) {
        detail::fail_tensor(tensor.name, "the format keeps this name for its metadata");
      }
      const bool is_new = parts_.try_emplace(tensor.name, part{place, bytes, 0}).second;
      if (!is_new) {
        detail::fail_tensor(tensor.name, "the name is used twice");
      }
      place += bytes;
    }
    file_.write(std::as_bytes(std::span(&length, 1)));
    file_.write(std::as_bytes(std::span(header)));
  }

  // The tensor's bytes from `offset` on. Each byte is to be written once.
  void write(std::string_view name, std::span<const std::byte> bytes, std::size_t offset = 0) {
    const auto found = parts_.find(name);
    if (found == parts_.end()) {
      detail::fail_tensor(name, "it is not in this file's header");
    }
    part& to = found->second;
    if (offset > to.size || bytes.size() > to.size - offset) {
      detail::fail_tensor(name, std::to_string(bytes.size()) + " bytes from " +
                                    std::to_string(offset) + " on go beyond its " +
                                    std::to_string(to.size));
    }
    file_.write_at(to.place + offset, bytes);
    const std::lock_guard lock(mutex_);
    to.written += bytes.size();
  }

  void commit() {
    for (const auto& [name, one] : parts_) {
      if (one.written != one.size) {
        detail::fail_tensor(name, std::to_string(one.written) + " of its " +
                                      std::to_string(one.size) + " bytes were written");
      }
    }
    file_.commit();
  }

 private:
  struct part {
    std::size_t place;  // in the file
    std::size_t size;
    std::size_t written;
  };

  files::atomic_file file_;
  std::map<std::string, part, std::less<>> parts_;
  std::mutex mutex_;
};

}  // namespace preheat::safetensors
