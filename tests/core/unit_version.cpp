// The version, and the names of the one before.
#include <doctest/doctest.h>

#include <string>
#include <type_traits>

#include <preheat/cpu/backend.hpp>
#include <preheat/deprecated.hpp>
#include <preheat/version.hpp>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

using preheat::cpu;

static_assert(std::is_same_v<preheat::site<cpu<float>>, preheat::target_layer<cpu<float>>>);
static_assert(std::is_same_v<preheat::in<cpu<float>>, preheat::view<const float>>);
static_assert(std::is_same_v<preheat::side, preheat::singular_side>);

TEST_CASE("version: the text has the numbers") {
  CHECK(preheat::version() == std::to_string(PREHEAT_VERSION_MAJOR) + "." +
                                  std::to_string(PREHEAT_VERSION_MINOR) + "." +
                                  std::to_string(PREHEAT_VERSION_PATCH));
}
