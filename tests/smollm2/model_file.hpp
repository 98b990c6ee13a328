// Where the model is.
#pragma once
#include <cstdlib>
#include <string>

namespace smollm2 {

inline std::string model_file() {
  const char* const given = std::getenv("PREHEAT_SMOLLM2");
  return given != nullptr ? given : PREHEAT_SMOLLM2_DEFAULT;
}

}  // namespace smollm2
