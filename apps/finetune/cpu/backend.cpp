// The CPU as the place where the program computes.
#include "apps/finetune/backend.hpp"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <thread>

namespace apps::finetune {
namespace {

// The threads of each of so many processes: those asked for, or the processors shared among them. So many in
// all: the BLAS, which would take every processor, has none of its own.
Be backend_of(int threads, int processes) {
  preheat::set_blas_threads(1);
  const int shared = std::max(1, int(std::thread::hardware_concurrency()) / processes);
  return Be(threads > 0 ? threads : shared);
}

// The kibibytes that Linux says there, in bytes; 0: nothing.
double from_proc(const char* file, const std::string& key) {
  std::ifstream lines(file);
  for (std::string word; lines >> word;) {
    double kibibytes = 0;
    if (word == key && lines >> kibibytes) {
      return 1024 * kibibytes;
    }
  }
  return 0;
}

}  // namespace

struct computer::device_sums {};

computer::computer(int threads, const preheat::process_group& host, bool together)
    : be_(backend_of(threads, host.size())),
      processes_(together ? host : preheat::process_group()) {}
computer::~computer() = default;

double available_memory() {
  const double available = from_proc("/proc/meminfo", "MemAvailable:");
  if (available > 0) {
    return available;
  }
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long size = ::sysconf(_SC_PAGE_SIZE);
  return pages > 0 && size > 0 ? double(pages) * double(size) : 0;
}

double resident_memory() {
  return from_proc("/proc/self/status", "VmRSS:");
}

}  // namespace apps::finetune
