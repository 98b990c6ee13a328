// What preheat::kernels has in float.
#include <preheat/kernels/linalg.hpp>
#include <preheat/kernels/training.hpp>

namespace preheat {

PREHEAT_COMPILED_BACKENDS(PREHEAT_BACKEND, , float)
PREHEAT_TRAINING(, float)

}  // namespace preheat

namespace preheat::linalg {

PREHEAT_COMPILED_BACKENDS(PREHEAT_LINALG, , float)

}  // namespace preheat::linalg
