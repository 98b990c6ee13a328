// A program that is two, one for the CPU and one for a GPU that lies beside it (docs/finetune.md).
#pragma once
#include <unistd.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

namespace apps::console {

// Whether the words have --device cuda among them.
inline bool wants_gpu(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--device=cuda" ||
        (word == "cuda" && std::string_view(argv[i - 1]) == "--device")) {
      return true;
    }
  }
  return false;
}

// This process becomes the program of that name in its own program's folder, with the same words.
// Errors: std::runtime_error: it is not there; `option` is how it is built, a setting of CMake.
[[noreturn]] inline void become(const std::string& name, char** argv, const std::string& option,
                                const std::string& page) {
  const std::filesystem::path place =
      std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
  if (std::filesystem::exists(place)) {
    ::execv(place.c_str(), argv);
  }
  std::string target = name;
  for (char& c : target) {
    c = c == '-' ? '_' : c;
  }
  throw std::runtime_error("--device cuda: cannot run " + place.string() +
                           ", the program for a GPU. Where nvcc is, cmake -D" + option +
                           "=ON and the target " + target + " build it (" + page + ")");
}

}  // namespace apps::console
