// A folder that appears with all its files or not at all. POSIX systems only.
#pragma once
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "../core/error.hpp"
#include "file_descriptor.hpp"

namespace preheat::files {

// Throws io_error unless nothing has that name, not even a dangling link.
inline void require_absent(const std::filesystem::path& target) {
  struct stat status = {};
  if (::lstat(target.c_str(), &status) == 0) {
    throw io_error(target.string() + ": exists already; nothing is overwritten");
  }
}

// Files go to a temporary folder beside the target, "<target>.tmp-<process>-<number>"; commit()
// renames it. Without commit(), or if anything fails, the temporary is removed with what is in it. A
// process that is killed leaves its temporary behind.
//
// Errors: io_error, naming the target, if it exists already, or if a system call fails.
//
//   preheat::files::atomic_folder folder("adapter");
//   preheat::safetensors::write(folder.path() / "adapter_model.safetensors", tensors);
//   folder.commit();
class atomic_folder {
 public:
  explicit atomic_folder(const std::filesystem::path& target) : target_(without_slash(target)) {
    require_absent(target_);
    create_temporary();
  }

  atomic_folder(const atomic_folder&) = delete;
  atomic_folder& operator=(const atomic_folder&) = delete;

  ~atomic_folder() {
    if (!committed_) {
      std::error_code ignored;
      std::filesystem::remove_all(temporary_, ignored);
    }
  }

  // The folder in which the files are to be written.
  const std::filesystem::path& path() const { return temporary_; }

  // Renames the temporary to the target. To be called once, after the last file.
  void commit() {
    require_absent(target_);
    detail::send_directory_to_disk(temporary_);
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
      detail::fail_system_call(target_, "rename the temporary folder");
    }
    committed_ = true;
    detail::send_directory_to_disk(target_.parent_path());
  }

 private:
  static constexpr int most_attempts = 1000;

  // Turns "adapter/" into "adapter", so that the temporary lies beside the folder and not in it.
  static std::filesystem::path without_slash(const std::filesystem::path& path) {
    return path.has_filename() ? path : path.parent_path();
  }

  void create_temporary() {
    for (int attempt = 0; attempt < most_attempts; ++attempt) {
      temporary_ = target_;
      temporary_ += ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(attempt);
      constexpr ::mode_t mode = 0777;  // minus the bits in the user's umask
      if (::mkdir(temporary_.c_str(), mode) == 0) {
        return;
      }
      if (errno != EEXIST) {
        break;
      }
    }
    detail::fail_system_call(target_, "create a temporary folder beside it");
  }

  std::filesystem::path target_;
  std::filesystem::path temporary_;
  bool committed_ = false;
};

}  // namespace preheat::files
