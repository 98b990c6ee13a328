// A POSIX file descriptor that closes itself, and the error of a failed system call. Shared by
// mapped_file, atomic_file and atomic_folder; POSIX systems only.
#pragma once
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>

#include "../core/error.hpp"

namespace preheat::files::detail {

// Throws io_error "<path>: cannot <action>: <the text of errno>". To be called right after the call
// that failed, before errno changes (so its argument is no std::string, whose construction could
// change errno).
[[noreturn]] inline void fail_system_call(const std::filesystem::path& path, const char* action) {
  const int code = errno;
  throw io_error(path.string() + ": cannot " + action + ": " +
                 std::generic_category().message(code));
}

// The owner of one descriptor, or of none (-1).
class file_descriptor {
 public:
  explicit file_descriptor(int number) : number_(number) {}
  file_descriptor(const file_descriptor&) = delete;
  file_descriptor& operator=(const file_descriptor&) = delete;
  ~file_descriptor() { close(); }

  int get() const { return number_; }
  bool is_open() const { return number_ >= 0; }

  // Closes the descriptor, if there is one, and returns whether the system reported no error (some
  // file systems report a failed write only here). The descriptor is closed in both cases.
  bool close() {
    if (!is_open()) {
      return true;
    }
    const int closing = number_;
    number_ = -1;
    return ::close(closing) == 0;
  }

 private:
  int number_;
};

// Flushes a directory to the disk, so that a new name in it survives a power failure. The file of
// that name is already complete, and some file systems cannot do this, so a failure is not an
// error.
inline void send_directory_to_disk(std::filesystem::path directory) {
  if (directory.empty()) {
    directory = ".";
  }
  const file_descriptor opened(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.is_open()) {
    ::fsync(opened.get());
  }
}

}  // namespace preheat::files::detail
