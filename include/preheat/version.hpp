// The library's version.
#pragma once

#define PREHEAT_VERSION_MAJOR 0
#define PREHEAT_VERSION_MINOR 2
#define PREHEAT_VERSION_PATCH 0

namespace preheat {

// Of these headers, "0.2.0".
constexpr const char* version() {
#define PREHEAT_TEXT_OF(number) #number
#define PREHEAT_VERSION_TEXT(major, minor, patch) \
  PREHEAT_TEXT_OF(major) "." PREHEAT_TEXT_OF(minor) "." PREHEAT_TEXT_OF(patch)
  return PREHEAT_VERSION_TEXT(PREHEAT_VERSION_MAJOR, PREHEAT_VERSION_MINOR, PREHEAT_VERSION_PATCH);
#undef PREHEAT_VERSION_TEXT
#undef PREHEAT_TEXT_OF
}

}  // namespace preheat
