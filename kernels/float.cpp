// What preheat::kernels has of the CPU backends in float.
#include <preheat/kernels/linalg.hpp>

namespace preheat {

PREHEAT_COMPILED_BACKENDS(PREHEAT_BACKEND, , float)

}  // namespace preheat

namespace preheat::linalg {

PREHEAT_COMPILED_BACKENDS(PREHEAT_LINALG, , float)

}  // namespace preheat::linalg
