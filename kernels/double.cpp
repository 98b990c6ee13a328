// What preheat::kernels has of the CPU backends in double.
#include <preheat/kernels/linalg.hpp>

namespace preheat {

PREHEAT_COMPILED_BACKENDS(PREHEAT_BACKEND, , double)

}  // namespace preheat

namespace preheat::linalg {

PREHEAT_COMPILED_BACKENDS(PREHEAT_LINALG, , double)

}  // namespace preheat::linalg
