// Processor time of the calling thread, which other programs on the machine do not lengthen.
#pragma once
#include <time.h>

namespace apps::console {

inline double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

}  // namespace apps::console
