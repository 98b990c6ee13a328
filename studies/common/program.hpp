// The main function of a program that does a grid of runs: alone, or started by mpirun with the
// runs spread over the processes. The first process is the program, and the others work for it.
#pragma once
#include <cstdio>
#include <exception>

#include <fmt/format.h>

#include "apps/console/processes.hpp"
#include "grid.hpp"
#if defined(PREHEAT_MPI)
#include <preheat/comm/mpi.hpp>
#endif

namespace studies::common {

#if defined(PREHEAT_MPI)
template <class Experiment, class Options, class RunAll>
int run_in_processes(Options o, const RunAll& run_all, preheat::comm::mpi& world) {
  if (world.size() == 1) {
    return run_all(o, workers{});
  }
  o.threads = 1;  // of each process
  if (world.rank() != 0) {
    run_log nothing_kept;
    const Experiment mine(o, nothing_kept);
    apps::console::serve(world, [&](const std::string& run) { return mine.answer(run); });
    return 0;
  }
  const auto spread = [&](std::size_t count, const auto&... functions) {
    return apps::console::run_jobs(world, count, functions...);
  };
  const int status = run_all(o, workers{world.size(), spread});
  if (status != 0) {
    world.abort("the runs were stopped");  // the others may be in the middle of one
  }
  apps::console::dismiss(world);
  return status;
}
#endif

// parse(argc, argv) gives `wanted` options or an `exit_code`; run_all(options, workers) does the
// program's work with an Experiment(options, log), and returns the exit status.
template <class Experiment, class Parse, class RunAll>
int main_of(const char* program, int argc, char** argv, const Parse& parse, const RunAll& run_all) {
  const auto with = [&](const auto& run) {
    const auto command_line = parse(argc, argv);
    return command_line.wanted ? run(*command_line.wanted) : command_line.exit_code;
  };
  try {
#if defined(PREHEAT_MPI)
    if (preheat::comm::started_by_mpi()) {
      return preheat::comm::mpi_main(argc, argv, [&](preheat::comm::mpi& world) {
        if (world.rank() > 0) {
          apps::console::leave_talking_to_the_first();
        }
        return with([&](const auto& o) { return run_in_processes<Experiment>(o, run_all, world); });
      });
    }
#endif
    return with([&](const auto& o) { return run_all(o, workers{}); });
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", program, error.what());
    return 1;
  }
}

}  // namespace studies::common
