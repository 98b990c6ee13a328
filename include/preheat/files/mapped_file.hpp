// A whole file mapped read-only into memory; the system reads each page when it is first touched.
// POSIX systems only.
#pragma once
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <utility>

#include "../core/error.hpp"
#include "file_descriptor.hpp"

namespace preheat::files {

// Errors: io_error, naming the file, if it is missing, unreadable, or not a regular file. An empty
// file gives an empty span.
//
// The bytes stay where they are when the object is moved. They follow the file: if another program
// overwrites it in place, the bytes change, and if it truncates the file, touching the lost bytes
// raises SIGBUS. Replacing the file by a rename, as atomic_file does, leaves the mapping untouched.
//
// Cost: one system call whatever the size; then a page fault for each page first touched.
//
//   const preheat::files::mapped_file file("weights.bin");
//   const std::span<const std::byte> bytes = file.bytes();
class mapped_file {
 public:
  explicit mapped_file(const std::filesystem::path& path) {
    // O_NONBLOCK, because opening a named pipe without a writer must not wait; it has no effect on
    // a regular file.
    const detail::file_descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file.is_open()) {
      detail::fail_system_call(path, "open");
    }
    struct stat status = {};
    if (::fstat(file.get(), &status) != 0) {
      detail::fail_system_call(path, "read the size");
    }
    if (!S_ISREG(status.st_mode)) {
      throw io_error(path.string() + ": not a regular file");
    }
    if (static_cast<std::uintmax_t>(status.st_size) > std::numeric_limits<std::size_t>::max()) {
      throw io_error(path.string() + ": too large for the address space");
    }
    size_ = static_cast<std::size_t>(status.st_size);
    if (size_ == 0) {
      return;  // mmap refuses a length of zero
    }
    void* const mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (mapped == MAP_FAILED) {
      detail::fail_system_call(path, "map");
    }
    data_ = static_cast<const std::byte*>(mapped);
  }

  mapped_file(mapped_file&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

  mapped_file& operator=(mapped_file&& other) noexcept {
    if (this != &other) {
      unmap();
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }

  ~mapped_file() { unmap(); }

  // The file's bytes, valid as long as this object or the one to which it was moved.
  std::span<const std::byte> bytes() const { return {data_, size_}; }

  // Returns the memory of a part of bytes() to the system. Touching that part again reads the file
  // again, so a call is never an error, and a large file can be read in little memory. Cost: one
  // system call.
  void release(std::span<const std::byte> part) const {
    if (part.empty()) {
      return;
    }
    const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t begin = static_cast<std::size_t>(part.data() - data_) / page * page;
    const std::size_t end = static_cast<std::size_t>(part.data() - data_) + part.size();
    ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
  }

 private:
  void unmap() {
    if (data_ != nullptr) {
      ::munmap(const_cast<std::byte*>(data_), size_);
    }
  }

  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace preheat::files
