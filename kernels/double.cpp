// What preheat::kernels has in double.
#include <preheat/kernels/linalg.hpp>
#include <preheat/kernels/training.hpp>

namespace preheat {

PREHEAT_COMPILED_BACKENDS(PREHEAT_BACKEND, , double)
PREHEAT_TRAINING(, double)

}  // namespace preheat

namespace preheat::linalg {

PREHEAT_COMPILED_BACKENDS(PREHEAT_LINALG, , double)

}  // namespace preheat::linalg
