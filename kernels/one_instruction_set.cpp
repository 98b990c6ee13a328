// The elementwise work for the instruction set PREHEAT_COMPILED_ISA, compiled with its options. This
// object must define nothing whose name another object has, or the linker might take the code below
// for everyone's: all templates here are named by the set, and tests/kernels/symbols.sh checks it.
#include <preheat/cpu/column_operations_members.hpp>

#include "passes.hpp"

namespace preheat {

static_assert(isa::PREHEAT_COMPILED_ISA::bytes <= isa::width_here,
              "this file is compiled with the options of its instruction set");

#define PREHEAT_INSTANTIATE(T, F, N) PREHEAT_PASS(, T, PREHEAT_COMPILED_ISA, F, N)
PREHEAT_EACH_PASS(PREHEAT_INSTANTIATE, float)
PREHEAT_EACH_PASS(PREHEAT_INSTANTIATE, double)
template struct column_operations<float, isa::PREHEAT_COMPILED_ISA>;
template struct column_operations<double, isa::PREHEAT_COMPILED_ISA>;

}  // namespace preheat
