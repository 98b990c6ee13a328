// The symbols of NCCL. Sums and broadcasts run when their stream does, through the peers of the process; without
// any, the others are taken to hold the same numbers, so that a sum over n of them is n times its own.
#include <nccl.h>

#include <cstring>
#include <utility>

#include "machine.hpp"

using namespace cuda_double;

struct ncclComm {
  int ranks;
};

namespace {
constexpr codes<ncclResult_t> usual{ncclSystemError, ncclInvalidUsage, ncclUnhandledCudaError};
constexpr char id_byte = 0x5A;

std::size_t size_of(ncclDataType_t type) {
  return type == ncclFloat32 ? sizeof(float) : sizeof(double);
}
void expect_alive(ncclComm_t comm) {
  expect(machine::get().handles.count(comm) == 1, "no such communicator");
}
template <class T>
void multiply(void* x, std::size_t count, int ranks) {
  for (std::size_t i = 0; i < count; ++i) {
    static_cast<T*>(x)[i] *= T(ranks);
  }
}
nccl_peers& peers() {
  static nccl_peers all;
  return all;
}
}  // namespace

void cuda_double::connect(nccl_peers all) {
  peers() = std::move(all);
}

extern "C" {

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  return call("ncclGetUniqueId", usual, [&] { std::memset(id->internal, id_byte, sizeof *id); });
}
ncclResult_t ncclCommInitRank(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank) {
  return call("ncclCommInitRank", usual, [&] {
    expect(0 <= rank && rank < ranks, "the rank is not one of the processes");
    expect(id.internal[0] == id_byte && id.internal[sizeof id - 1] == id_byte,
           "this is not the id of the first process");
    *comm = new ncclComm{ranks};
    machine::get().handles.insert(*comm);
  });
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  return release_call("ncclCommDestroy", usual, [&] {
    expect_alive(comm);
    machine::get().handles.erase(comm);
    delete comm;
  });
}
const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclSystemError ? "unhandled system error" : "an NCCL error";
}
ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclRedOp_t, ncclComm_t comm, cudaStream_t s) {
  return call("ncclAllReduce", usual, [&] {
    machine& m = machine::get();
    expect_alive(comm);
    expect(from == to, "the double sums in place only");
    m.reach(to, count * size_of(type), "the sum");
    m.enqueue(m.find_stream(s), [to, count, type, ranks = comm->ranks] {
      void* const x = machine::get().reach(to, count * size_of(type), "the sum");
      if (peers().sum) {
        peers().sum(x, count, type == ncclFloat32);
      } else if (type == ncclFloat32) {
        multiply<float>(x, count, ranks);
      } else {
        multiply<double>(x, count, ranks);
      }
    });
  });
}
ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t s) {
  return call("ncclBroadcast", usual, [&] {
    machine& m = machine::get();
    expect_alive(comm);
    expect(from == to && 0 <= root && root < comm->ranks, "no broadcast in place from a process");
    m.reach(to, count * size_of(type), "what is broadcast");
    m.enqueue(m.find_stream(s), [to, bytes = count * size_of(type), root] {
      void* const x = machine::get().reach(to, bytes, "what is broadcast");
      if (peers().broadcast) {
        peers().broadcast(x, bytes, root);
      }
    });
  });
}

}  // extern "C"
