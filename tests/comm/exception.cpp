// The last process fails while the others wait for it: all must end, with its words. Without an
// argument the exception leaves mpi_main; with one, it passes the communicator on the way out.
#include <preheat/comm/mpi.hpp>

namespace {

void fail_in_last(preheat::comm::mpi& world) {
  if (world.rank() == world.size() - 1) {
    preheat::require(false, "rank >= 1", 0, 1);
  }
  world.barrier();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 1) {
    return preheat::comm::mpi_main(argc, argv, fail_in_last);
  }
  try {
    preheat::comm::mpi world(argc, argv);
    fail_in_last(world);
  } catch (const std::exception&) {
    return 0;  // too late: the others have been ended
  }
}
