// Where a command writes: everything that can be said against it is said before the work begins.
#pragma once
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include <preheat/core/error.hpp>
#include <preheat/files/atomic_folder.hpp>

namespace apps::adapter {

// Throws invalid_argument with a text that states the fault.
inline void refuse_if(bool fault, const std::string& text) {
  if (fault) {
    throw preheat::invalid_argument(text);
  }
}

// Removes what killed runs left beside a target, "<target>.tmp-<process>-<number>": of one process, or of
// all that are no more. Another machine may write to the same disk, so the latter must be a day old.
inline void clear_leftovers(std::filesystem::path target, long of_process = 0) {
  namespace fs = std::filesystem;
  if (!target.has_filename()) {
    target = target.parent_path();
  }
  const std::string begin = target.filename().string() + ".tmp-";
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(
           target.parent_path().empty() ? fs::path(".") : target.parent_path(), ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(begin)) {
      continue;
    }
    char* end = nullptr;
    const long process = std::strtol(name.c_str() + begin.size(), &end, 10);
    const auto age = fs::file_time_type::clock::now() - fs::last_write_time(entry.path(), ignored);
    const bool dead = process > 0 && ::kill(pid_t(process), 0) != 0 && errno == ESRCH;
    const bool gone = of_process > 0 ? process == of_process : dead && age > std::chrono::hours(24);
    if (gone && *end == '-') {
      fs::remove_all(entry.path(), ignored);
    }
  }
}

// Errors: io_error, naming the path: it exists, its folder does not, or nobody may write there.
inline void check_target(std::filesystem::path target) {
  namespace fs = std::filesystem;
  if (!target.has_filename()) {
    target = target.parent_path();
  }
  preheat::files::require_absent(target);
  const fs::path folder = target.parent_path().empty() ? fs::path(".") : target.parent_path();
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    throw preheat::io_error(target.string() + ": there is no folder " + folder.string());
  }
  if (::access(folder.c_str(), W_OK) != 0) {
    throw preheat::io_error(target.string() + ": the folder " + folder.string() +
                            " cannot be written to");
  }
  clear_leftovers(target);
}

}  // namespace apps::adapter
