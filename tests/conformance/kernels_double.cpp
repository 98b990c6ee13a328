// The double kernels of the CPU backends under test.
#include "compiled_once_definitions.hpp"

namespace conformance {

PREHEAT_INSTANTIATE_KERNELS(preheat::eigen_kernels, double);
#if defined(PREHEAT_SYSTEM_BLAS)
PREHEAT_INSTANTIATE_KERNELS(preheat::blas_kernels, double);
#endif

}  // namespace conformance
