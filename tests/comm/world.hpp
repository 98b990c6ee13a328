// The one communicator of a test program that mpirun has started.
#pragma once
#include <preheat/comm/mpi.hpp>

namespace comm_test {
preheat::comm::mpi& world();
}
