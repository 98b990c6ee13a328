// A file that appears complete or not at all. POSIX systems only.
#pragma once
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

#include "../core/error.hpp"
#include "file_descriptor.hpp"

namespace preheat::files {

// Writes go to a temporary file beside the target, "<target>.tmp-<process>-<number>". commit()
// flushes it to the disk and renames it to the target, which replaces an existing file in one step:
// a reader sees the old file or the new one, never a part. Without commit(), or if anything fails,
// the temporary is removed and the target is unchanged.
//
// The new file has the permissions of any newly created file, not those of the file it replaces; a
// target that is a symbolic link is itself replaced, not what it points to. A process that is
// killed leaves its temporary behind.
//
// Errors: io_error, naming the target, if a system call fails: no such directory, no permission,
// disk full, the target is a directory.
//
//   preheat::files::atomic_file file("weights.bin");
//   file.write(std::as_bytes(std::span(values)));
//   file.commit();
class atomic_file {
 public:
  explicit atomic_file(std::filesystem::path target)
      : target_(std::move(target)), file_(create_temporary()) {
    if (!file_.is_open()) {
      detail::fail_system_call(target_, "create a temporary file beside it");
    }
  }

  atomic_file(const atomic_file&) = delete;
  atomic_file& operator=(const atomic_file&) = delete;

  ~atomic_file() {
    if (!committed_) {
      ::unlink(temporary_.c_str());
    }
  }

  // Appends the bytes. Cost: one copy into the system's cache.
  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ::ssize_t written = ::write(file_.get(), bytes.data(), bytes.size());
      if (written >= 0) {
        bytes = bytes.subspan(static_cast<std::size_t>(written));
      } else if (errno != EINTR) {
        detail::fail_system_call(target_, "write");
      }
    }
  }

  // Writes the bytes at an offset, which may lie beyond what was written so far. Threads may write
  // different ranges at the same time; write() continues where write() ended.
  void write_at(std::size_t place, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ::ssize_t written =
          ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<::off_t>(place));
      if (written >= 0) {
        place += static_cast<std::size_t>(written);
        bytes = bytes.subspan(static_cast<std::size_t>(written));
      } else if (errno != EINTR) {
        detail::fail_system_call(target_, "write");
      }
    }
  }

  // Renames the temporary to the target. To be called once, after the last write.
  void commit() {
    if (::fsync(file_.get()) != 0) {
      detail::fail_system_call(target_, "send the bytes to the disk");
    }
    if (!file_.close()) {
      detail::fail_system_call(target_, "close the temporary file");
    }
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
      detail::fail_system_call(target_, "rename the temporary file");
    }
    committed_ = true;
    detail::send_directory_to_disk(target_.parent_path());
  }

 private:
  static constexpr int most_attempts = 1000;

  // Creates a file that did not exist, so that two writers, in one process or in two, never share
  // one. Returns -1, with errno set, if that is impossible.
  int create_temporary() {
    for (int attempt = 0; attempt < most_attempts; ++attempt) {
      temporary_ = target_;
      temporary_ += ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(attempt);
      constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
      constexpr ::mode_t mode = 0666;  // minus the bits in the user's umask
      const int number = ::open(temporary_.c_str(), flags, mode);
      if (number >= 0 || errno != EEXIST) {
        return number;
      }
    }
    return -1;
  }

  std::filesystem::path target_;
  std::filesystem::path temporary_;
  detail::file_descriptor file_;
  bool committed_ = false;
};

}  // namespace preheat::files
