// Errors. Misuse throws `preheat::invalid_argument`, whose text names the inequality that was
// broken and the two values. A numerical outcome (non-finite loss, no convergence) is a status in a
// result, never an exception. A failing library call throws `preheat::library_error` with the call.
#pragma once
#include <concepts>
#include <cstddef>
#include <cstdint>
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
// A number of a broken law, as its error shows it: 7, -0.5, 1e-08.
class shown_number {
 public:
  template <class T>
  requires std::is_arithmetic_v<T>
  constexpr shown_number(T value) {
    if constexpr (std::is_floating_point_v<T>) {
      floating_ = true;
      number_ = double(value);
    } else {
      if constexpr (std::is_signed_v<T>) {
        negative_ = value < T(0);
      }
      whole_ = std::uintmax_t(value);
    }
  }
  [[gnu::cold, gnu::noinline]] std::string text() const {
    char text[32];
    if (floating_) {
      std::snprintf(text, sizeof text, "%g", number_);
    } else {
      std::snprintf(text, sizeof text, negative_ ? "%jd" : "%ju", whole_);
    }
    return text;
  }

 private:
  bool floating_ = false;
  bool negative_ = false;
  union {
    double number_;
    std::uintmax_t whole_;  // modulo 2^64
  };
};

// Out of line: a program has hundreds of laws, and every one that is kept costs nothing but a jump.
//
// `template <class = void>`, here and elsewhere: an ordinary function of a header would be inline, and the
// compiler compiles an inline function in every program. A template is not inline, and
// kernels/training.hpp declares that preheat::kernels has it compiled.
template <class = void>
[[noreturn, gnu::cold, gnu::noinline]] void throw_broken_law(std::string_view law,
                                                             shown_number left,
                                                             shown_number right) {
  throw invalid_argument(std::string(law) + " (" + left.text() + ", " + right.text() + ")");
}
template <class = void>
[[noreturn, gnu::cold, gnu::noinline]] void throw_broken_law(std::string_view law) {
  throw invalid_argument(std::string(law));
}
// Of sizes, and of a literal: what a caller passes in three registers.
template <class = void>
[[noreturn, gnu::cold, gnu::noinline]] void throw_broken_sizes(const char* law, std::ptrdiff_t left,
                                                               std::ptrdiff_t right) {
  throw_broken_law(law, left, right);
}
}  // namespace detail

namespace detail {
// Where a call is. (std::source_location is not in every standard library that has C++20.)
struct call_site {
  const char* file;
  int line;
};
// "cublas<t>gemm: CUBLAS_STATUS_EXECUTION_FAILED (13), backend.hpp:167"
inline std::string failed_call(const char* call, const std::string& name, int code, call_site at) {
  const std::string path = at.file;
  const std::string file = path.substr(path.find_last_of('/') + 1);
  return std::string(call) + ": " + name + " (" + std::to_string(code) + "), " + file + ":" +
         std::to_string(at.line);
}
}  // namespace detail

// Throws invalid_argument "<law> (<left>, <right>)" unless `holds`. Example:
//   require(r <= k, "rank <= min(out, in)", r, k);   ->   preheat: rank <= min(out, in) (10, 9)
inline void require(bool holds, std::string_view law, detail::shown_number left,
                    detail::shown_number right) {
  if (!holds) {
    detail::throw_broken_law(law, left, right);
  }
}

// The same for sizes and counts, in fewer instructions: most laws of a program are about them.
template <std::same_as<std::ptrdiff_t> Left, class Right>
requires std::same_as<Right, std::ptrdiff_t> || std::same_as<Right, int>
void require(bool holds, const char* law, Left left, Right right) {
  if (!holds) {
    detail::throw_broken_sizes(law, left, right);
  }
}

// The same for a condition that needs no values.
inline void require(bool holds, std::string_view law) {
  if (!holds) {
    detail::throw_broken_law(law);
  }
}

}  // namespace preheat
