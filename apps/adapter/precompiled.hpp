// What most files of this program include, for its precompiled header. A file includes what it uses all the same.
#include <preheat/cpu/backend.hpp>
#include <preheat/kernels/linalg.hpp>

#include "commands.hpp"
#include "factors.hpp"
#include "job.hpp"
