// Errors. Misuse throws `preheat::invalid_argument`, whose text names the inequality that was
// broken and the two values. A numerical outcome (non-finite loss, no convergence) is a status in a
// result, never an exception. A failing library call throws `preheat::library_error` with the call.
#pragma once
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace preheat {

// A caller's mistake: wrong shape, rank out of range, empty batch, NaN input, unknown name.
struct invalid_argument : std::invalid_argument {
  explicit invalid_argument(const std::string& what) : std::invalid_argument("preheat: " + what) {}
};

// A file that cannot be read or written, or whose contents break its format.
struct io_error : std::runtime_error {
  explicit io_error(const std::string& what) : std::runtime_error("preheat: " + what) {}
};

// A BLAS, LAPACK, CUDA or MPI call that reported failure.
struct library_error : std::runtime_error {
  explicit library_error(const std::string& what) : std::runtime_error("preheat: " + what) {}
};

namespace detail {
// A number as it is written in an error: 7, -0.5, 1e-08.
template <class T>
std::string number_text(const T& value) {
  if constexpr (std::is_floating_point_v<T>) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", double(value));
    return text;
  } else {
    return std::to_string(value);
  }
}
}  // namespace detail

namespace detail {
// Where a call is. (std::source_location is not in every standard library that has C++20.)
struct place {
  const char* file;
  int line;
};
// "cublas<t>gemm: CUBLAS_STATUS_EXECUTION_FAILED (13), backend.hpp:167"
inline std::string failed_call(const char* call, const std::string& name, int code, place at) {
  const std::string path = at.file;
  const std::string file = path.substr(path.find_last_of('/') + 1);
  return std::string(call) + ": " + name + " (" + std::to_string(code) + "), " + file + ":" +
         std::to_string(at.line);
}
}  // namespace detail

// Throws invalid_argument "<law> (<left>, <right>)" unless `holds`. Example:
//   require(r <= k, "rank <= min(out, in)", r, k);   ->   preheat: rank <= min(out, in) (10, 9)
template <class L, class R>
void require(bool holds, std::string_view law, const L& left, const R& right) {
  if (!holds) {
    throw invalid_argument(std::string(law) + " (" + detail::number_text(left) + ", " +
                           detail::number_text(right) + ")");
  }
}

// The same for a condition that needs no values.
inline void require(bool holds, std::string_view law) {
  if (!holds) {
    throw invalid_argument(std::string(law));
  }
}

}  // namespace preheat
