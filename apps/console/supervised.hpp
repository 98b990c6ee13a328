// Work in a process of its own, so that somebody is left to clean up when it is killed: by a fault, by the
// system that runs out of memory, by kill -9. POSIX systems only.
#pragma once
#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <initializer_list>

namespace apps::console {

namespace detail {
inline std::atomic<pid_t> worker{0};
inline constexpr std::initializer_list<int> polite_signals = {SIGINT, SIGTERM, SIGHUP};
}  // namespace detail

// Calls work() in a child process and returns what it returns, an exit status. Polite signals are handed
// on to it. If a signal ends it, calls clean_up(child's process) and returns 128 + the signal, as a shell
// does. If this process is killed, the child gets SIGTERM. Without a second process (fork fails) work()
// runs in this one. To be called before there are threads.
template <class Work, class CleanUp>
int supervised(const Work& work, const CleanUp& clean_up) {
  std::fflush(nullptr);
  sigset_t held;
  sigset_t before;
  sigemptyset(&held);
  for (const int number : detail::polite_signals) {
    sigaddset(&held, number);
  }
  sigprocmask(SIG_BLOCK, &held, &before);  // until both processes know what to do with them
  [[maybe_unused]] const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child <= 0) {
    if (child == 0) {
      ::setpgid(0, 0);  // a terminal's signals go to the parent, which hands them on once
#if defined(__linux__)
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      if (::getppid() != parent) {
        ::_exit(128 + SIGTERM);
      }
#endif
    }
    sigprocmask(SIG_SETMASK, &before, nullptr);
    const int status = work();
    std::fflush(nullptr);
    if (child == 0) {
      ::_exit(status);
    }
    return status;
  }
  detail::worker = child;
  for (const int number : detail::polite_signals) {
    std::signal(number, [](int received) { ::kill(detail::worker, received); });
  }
  sigprocmask(SIG_SETMASK, &before, nullptr);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) {
    return WEXITSTATUS(status);
  }
  clean_up(child);
  return 128 + (WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

}  // namespace apps::console
