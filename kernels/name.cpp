// The name by which a file knows that this is the library it needs (preheat/cpu/compiled_backends.hpp).
#include <preheat/cpu/compiled_backends.hpp>

namespace preheat {

extern const char PREHEAT_LIBRARY_NEEDED = 0;

}  // namespace preheat
