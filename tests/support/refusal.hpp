// The text with which a call is refused, or a note that it was not. Any other exception is an error.
#pragma once
#include <preheat/core/error.hpp>
#include <string>

namespace conformance {

template <class F>
std::string refusal(F f) {
  try {
    f();
  } catch (const preheat::invalid_argument& error) {
    return error.what();
  }
  return "(not refused)";
}

}  // namespace conformance
