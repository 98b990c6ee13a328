// A whole text file as a string, read and written.
#pragma once
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "../core/error.hpp"
#include "atomic_file.hpp"
#include "mapped_file.hpp"

namespace preheat::files {

// Errors: io_error if the file cannot be read or has more than `longest` bytes.
inline std::string read_text_file(const std::filesystem::path& path, std::size_t longest) {
  const mapped_file file(path);
  const std::size_t size = file.bytes().size();
  if (size > longest) {
    throw io_error(path.string() + ": length of this file <= " + std::to_string(longest) + " (" +
                   std::to_string(size) + ")");
  }
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), size);
}

// Writes the file whole or not at all; an older one is replaced. Errors: io_error, as atomic_file.
inline void write_text_file(const std::filesystem::path& path, const std::string& text) {
  atomic_file file(path);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace preheat::files
