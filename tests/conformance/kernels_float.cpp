// The float kernels of the CPU backends under test.
#include "compiled_once_definitions.hpp"

namespace conformance {

PREHEAT_INSTANTIATE_KERNELS(preheat::eigen_kernels, float);
#if defined(PREHEAT_SYSTEM_BLAS)
PREHEAT_INSTANTIATE_KERNELS(preheat::blas_kernels, float);
#endif

}  // namespace conformance
