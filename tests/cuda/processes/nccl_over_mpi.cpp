// Connects the double of NCCL with the processes of mpirun: a program that has this file in it sums by MPI. A call waits
// for the others at once, so all must run their work in the same order, which the eager schedule does.
#include <preheat/comm/mpi.hpp>

#include "cuda/double/control.hpp"

namespace {

void sum(void* x, std::size_t count, bool floats) {
  MPI_Allreduce(MPI_IN_PLACE, x, int(count), floats ? MPI_FLOAT : MPI_DOUBLE, MPI_SUM,
                MPI_COMM_WORLD);
}
void broadcast(void* x, std::size_t bytes, int root) {
  MPI_Bcast(x, int(bytes), MPI_BYTE, root, MPI_COMM_WORLD);
}

// The communicator of comm::mpi is another one than MPI_COMM_WORLD, so the two do not meet.
[[maybe_unused]] const bool connected = [] {
  if (preheat::comm::started_by_mpi()) {
    cuda_double::connect({sum, broadcast});
  }
  return true;
}();

}  // namespace
