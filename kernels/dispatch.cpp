// Which instruction set a process uses: the best that the processor has, or what the environment
// variable PREHEAT_ISA says. It is decided once, at the first elementwise operation.
#include <array>
#include <cstdlib>
#include <string>
#include <string_view>

#include "passes.hpp"

namespace preheat {

namespace {

// In the order of their names in PREHEAT_ISA, the better one later.
enum class level { baseline, v3, v4 };
constexpr std::array<std::string_view, 3> names = {"baseline", "v3", "v4"};

bool in_library(level l) {
#if defined(PREHEAT_HAS_X86_LEVELS)
  return l == level::baseline || l == level::v3 || l == level::v4;
#else
  return l == level::baseline;
#endif
}
bool on_processor(level l) {
#if defined(PREHEAT_HAS_X86_LEVELS)
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  return l == level::baseline || (l == level::v3 && v3) || (l == level::v4 && v4);
#else
  return l == level::baseline;
#endif
}

level choose() {
  const char* const wanted = std::getenv("PREHEAT_ISA");
  if (wanted == nullptr || *wanted == '\0') {
    for (const level l : {level::v4, level::v3}) {
      if (in_library(l) && on_processor(l)) {
        return l;
      }
    }
    return level::baseline;
  }
  for (const level l : {level::baseline, level::v3, level::v4}) {
    if (names[std::size_t(l)] == wanted) {
      require(in_library(l), "PREHEAT_ISA=" + std::string(wanted) +
                                 ": preheat::kernels was built without this instruction set");
      require(on_processor(l), "PREHEAT_ISA=" + std::string(wanted) +
                                   ": this processor does not have this instruction set");
      return l;
    }
  }
  throw invalid_argument("PREHEAT_ISA is baseline, v3 or v4, not '" + std::string(wanted) + "'");
}
level in_use() {
  static const level chosen = choose();
  return chosen;
}

}  // namespace

std::string compiled_instruction_set() {
  return in_use() == level::baseline ? "baseline"
                                     : "x86-64-" + std::string(names[std::size_t(in_use())]);
}

// --- The code itself is in the objects of one_instruction_set.cpp.

#if defined(PREHEAT_HAS_X86_LEVELS)
#define PREHEAT_DECLARE(T, F, N)          \
  PREHEAT_PASS(extern, T, baseline, F, N) \
  PREHEAT_PASS(extern, T, v3, F, N)       \
  PREHEAT_PASS(extern, T, v4, F, N)
// Whichever is in use of X<baseline>, X<v3>, X<v4>.
#define PREHEAT_CHOOSE(BASELINE, V3, V4) \
  (in_use() == level::v4 ? (V4) : in_use() == level::v3 ? (V3) : (BASELINE))
#else
#define PREHEAT_DECLARE(T, F, N) PREHEAT_PASS(extern, T, baseline, F, N)
#define PREHEAT_CHOOSE(BASELINE, V3, V4) (in_use(), (BASELINE))
#endif
PREHEAT_EACH_PASS(PREHEAT_DECLARE, float)
PREHEAT_EACH_PASS(PREHEAT_DECLARE, double)

template <class T, class F, int N>
pass_function<T>* compiled_pass() {
  return PREHEAT_CHOOSE((&packet_pass<T, isa::baseline, F, N>), (&packet_pass<T, isa::v3, F, N>),
                        (&packet_pass<T, isa::v4, F, N>));
}
#define PREHEAT_DEFINE(T, F, N) template pass_function<T>* compiled_pass<T, F, N>();
PREHEAT_EACH_PASS(PREHEAT_DEFINE, float)
PREHEAT_EACH_PASS(PREHEAT_DEFINE, double)

// The operation NAME on columns: by the function of the set in use.
#define PREHEAT_FORWARD(T, RESULT, NAME, PARAMETERS, ARGUMENTS)             \
  template <>                                                               \
  RESULT column_operations<T, isa::best>::NAME PARAMETERS {                 \
    using baseline = column_operations<T, isa::baseline>;                   \
    using v3 [[maybe_unused]] = column_operations<T, isa::v3>;              \
    using v4 [[maybe_unused]] = column_operations<T, isa::v4>;              \
    return PREHEAT_CHOOSE(&baseline::NAME, &v3::NAME, &v4::NAME) ARGUMENTS; \
  }
#define PREHEAT_FORWARD_ALL(T)                                                                 \
  PREHEAT_FORWARD(T, void, fill, (T value, columns_of<T> x), (value, x))                       \
  PREHEAT_FORWARD(T, void, scale_rows, (const T* d, columns_of<T> x), (d, x))                  \
  PREHEAT_FORWARD(T, void, scale_cols, (const T* d, columns_of<T> x), (d, x))                  \
  PREHEAT_FORWARD(T, void, add_to_cols, (const T* b, columns_of<T> x), (b, x))                 \
  PREHEAT_FORWARD(T, void, add_row_sums, (T s, columns_of<const T> a, T * x), (s, a, x))       \
  PREHEAT_FORWARD(T, void, add_row_dots,                                                       \
                  (T s, columns_of<const T> a, columns_of<const T> b, T * x), (s, a, b, x))    \
  PREHEAT_FORWARD(T, T, dot, (columns_of<const T> a, columns_of<const T> b), (a, b))           \
  PREHEAT_FORWARD(T, T, max_abs, (columns_of<const T> a), (a))                                 \
  PREHEAT_FORWARD(T, void, softmax, (columns_of<T> x, T * log_sums), (x, log_sums))            \
  PREHEAT_FORWARD(T, void, softmax_gradient, (columns_of<const T> p, columns_of<T> d), (p, d)) \
  PREHEAT_FORWARD(                                                                             \
      T, void, layer_norm,                                                                     \
      (T epsilon, const T* gamma, const T* beta, columns_of<T> x, T* r, columns_of<T> y),      \
      (epsilon, gamma, beta, x, r, y))                                                         \
  PREHEAT_FORWARD(T, void, layer_norm_gradient,                                                \
                  (const T* gamma, columns_of<const T> x, const T* r, columns_of<T> d),        \
                  (gamma, x, r, d))                                                            \
  PREHEAT_FORWARD(T, void, softmax_causal, (index_t shift, index_t window, columns_of<T> x),   \
                  (shift, window, x))                                                          \
  PREHEAT_FORWARD(T, void, rms_norm,                                                           \
                  (T epsilon, const T* gamma, columns_of<const T> x, T* r, columns_of<T> y),   \
                  (epsilon, gamma, x, r, y))                                                   \
  PREHEAT_FORWARD(T, void, rms_norm_gradient,                                                  \
                  (const T* gamma, columns_of<const T> x, const T* r, columns_of<const T> d,   \
                   columns_of<T> dx),                                                          \
                  (gamma, x, r, d, dx))
PREHEAT_FORWARD_ALL(float)
PREHEAT_FORWARD_ALL(double)

}  // namespace preheat
