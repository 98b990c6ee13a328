// Which code does the elementwise work of the CPU backend: code compiled with the file that includes
// the headers, for the instruction set of its options; or, in a program linked to preheat::kernels
// (PREHEAT_KERNELS), that library's code for the best instruction set the processor has.
#pragma once
#include <string>

#include "column_operations.hpp"
#include "instruction_set.hpp"
#include "packet.hpp"
#if !defined(PREHEAT_KERNELS)
#include "column_operations_members.hpp"
#endif

namespace preheat {

namespace detail {
template <class T, class F, class... Ts, int... I>
constexpr bool writes_to_no_const(std::integer_sequence<int, I...> all) {
  return ((!std::is_const_v<Ts> || reads_only<F, packet<T, isa::here>, I>(all)) && ...);
}
}  // namespace detail

// A packet kernel of this library says `static constexpr bool in_kernels = true`: preheat::kernels
// has its passes (kernels/passes.hpp lists them).
template <class F>
concept library_kernel = packet_kernel<F> && requires {
  requires F::in_kernels;
};

#if defined(PREHEAT_KERNELS)

// Defined in preheat::kernels. Errors: invalid_argument if the environment variable PREHEAT_ISA
// names none of baseline, v3 and v4, or one that this processor or this library does not have.
template <class T, class F, int N>
pass_function<T>* compiled_pass();
std::string compiled_instruction_set();

// The pass of a packet kernel with N operands.
template <class T, packet_kernel F, int N>
pass_function<T>* pass_of() {
  if constexpr (library_kernel<F>) {
    return compiled_pass<T, F, N>();
  } else {
    return &packet_pass<T, isa::here, F, N>;
  }
}
template <class T>
using column_operations_in_use = column_operations<T, isa::best>;
// For describe(): ", compiled for x86-64-v3", or nothing.
inline std::string instruction_set_in_use() {
  return ", " + compiled_instruction_set();
}

#else

template <class T, packet_kernel F, int N>
pass_function<T>* pass_of() {
  return &packet_pass<T, isa::here, F, N>;
}
template <class T>
using column_operations_in_use = column_operations<T, isa::here>;
inline std::string instruction_set_in_use() {
  return "";
}

#endif

// Calls f for one entry of the columns after the other, with the entry's number before it if Indexed. f is
// a local copy, so stores cannot alias it.
template <bool Indexed, class F, class... Ts>
void call_entries(F f, index_t start, index_t length, Ts*... at) {
  for (index_t i = 0; i < length; ++i) {
    if constexpr (Indexed) {
      f(start + i, at[i]...);
    } else {
      f(at[i]...);
    }
  }
}
// A pass that does so. Ts are the types of the operands: T, or const T.
template <class T, bool Indexed, class F, class... Ts>
void scalar_pass(const void* kernel, index_t start, index_t length, T* const* columns) {
  [&]<int... I>(std::integer_sequence<int, I...>) {
    call_entries<Indexed>(*static_cast<const F*>(kernel), start, length,
                          static_cast<Ts*>(columns[I])...);
  }
  (std::make_integer_sequence<int, int(sizeof...(Ts))>());
}

// What `apply` does with a kernel and operands of types Ts.
inline constexpr int most_operands = 8;
template <class T, class F, class... Ts>
pass_function<T>* pass_for() {
  constexpr int operands = int(sizeof...(Ts));
  static_assert(operands <= most_operands, "an elementwise kernel has at most eight operands");
  if constexpr (packet_kernel<F>) {
    static_assert(
        detail::writes_to_no_const<T, F, Ts...>(std::make_integer_sequence<int, operands>()),
        "an elementwise kernel may not write to an operand that is const");
    return pass_of<T, F, operands>();
  } else {
    return &scalar_pass<T, false, F, Ts...>;
  }
}

}  // namespace preheat
