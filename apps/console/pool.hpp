// Independent jobs on a few threads, and a polite stop on Ctrl-C.
#pragma once
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace apps::console {

// Set by the first SIGINT, SIGTERM or SIGHUP after stop_on_signals(); a second one ends the program
// at once.
inline std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may set it");

inline void stop_on_signals() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    std::signal(number, [](int received) {
      stop_requested = true;
      std::signal(received, SIG_DFL);
    });
  }
}

// Calls job(0) … job(count − 1), each once, on `threads` threads, in an order that nobody should
// depend on. Once `stop` is set, or a job has thrown, no further job is started; those in flight
// finish. The first exception is rethrown here. Returns whether every job was run.
template <class Job>
bool run_jobs(int threads, std::size_t count, const Job& job,
              const std::atomic<bool>& stop = stop_requested) {
  std::atomic<std::size_t> next{0};
  std::atomic<std::size_t> finished{0};
  std::atomic<bool> failed{false};
  std::exception_ptr first_error;
  std::mutex error_mutex;

  const auto work = [&] {
    while (!stop && !failed) {
      const std::size_t i = next++;
      if (i >= count) {
        return;
      }
      try {
        job(i);
        ++finished;
      } catch (...) {
        const std::lock_guard lock(error_mutex);
        if (!first_error) {
          first_error = std::current_exception();
        }
        failed = true;
      }
    }
  };
  {
    std::vector<std::jthread> workers;
    const std::size_t wanted = std::min(count, std::size_t(std::max(1, threads)));
    for (std::size_t k = 0; k < wanted; ++k) {
      workers.emplace_back(work);
    }
  }  // joined here
  if (first_error) {
    std::rethrow_exception(first_error);
  }
  return finished == count;
}

}  // namespace apps::console
