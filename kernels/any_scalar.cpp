// What preheat::kernels has of a run whatever the scalar.
#include <preheat/kernels/training.hpp>

namespace preheat {

PREHEAT_ANY_SCALAR()

}  // namespace preheat
