// A double of cudart, cuBLAS, cuSOLVER and NCCL for tests: it defines the symbols that the library calls,
// computes by BLAS and LAPACK on the host, and refuses what a device would refuse or punish.
//
//   - Device memory cannot be read or written by the host: a dereference ends the program with the
//     name of the block. Fresh memory is NaN; what lies beside a block is guarded; an address is
//     never used twice, so that a use after free is always seen.
//   - Every pointer, leading dimension, size and workspace is checked at the call and when it runs.
//   - schedule::lazy runs nothing before somebody waits, so that a missing wait shows; kernels run
//     from the last index to the first.
//   - Any call can be made to fail.
//   - A captured stream runs nothing; a graph runs its pieces with their arguments of then, and looks for their
//     memory anew.
//
// Not modelled: times of events, several devices, CUDA's default stream as something special.
#pragma once
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace cuda_double {

enum class schedule { eager, lazy };

struct settings {
  schedule when = schedule::eager;
  int devices = 1;
  std::size_t memory = std::size_t(4) << 30U;
};
// A new machine: no memory, streams, violations or counts. PREHEAT_CUDA_SCHEDULE=lazy makes lazy
// the schedule of the machine that a program starts with, PREHEAT_CUDA_DEVICES=0 one without a device.
void reset(settings s = {});
schedule default_schedule();

// Blocks, streams, events, pinned memory and handles that are alive.
long alive();
// Misuses so far, each a sentence.
const std::vector<std::string>& violations();
// Calls so far: all that can fail, and those of one name.
long calls();
long calls(const std::string& name);
// Pieces of work that were asked for and have not run; none of an eager machine.
long pending();
// Bytes allocated with cublasSetWorkspace, or 0.
std::size_t cublas_workspace();

// The n-th call that can fail, from now, does (1 is the next); 0 takes the order back.
void fail_call(long n);
// The same for the calls of one name, with a code of the caller's; for a solver, `info` is what it
// writes instead.
void fail_call_of(const std::string& name, long n, int code);
void fail_info_of(const std::string& name, int info);
// The n-th piece of work that runs on the device fails: every later call says so.
void fail_work(long n);

// What NCCL's sums and broadcasts in place do with the other processes (nccl_over_mpi.cpp). Empty: there are none.
struct nccl_peers {
  std::function<void(void* x, std::size_t count, bool floats)> sum;
  std::function<void(void* x, std::size_t bytes, int root)> broadcast;
};
void connect(nccl_peers all);

// What a pointer is, in words.
std::string describe(const void* p);

}  // namespace cuda_double
