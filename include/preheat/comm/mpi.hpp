// The MPI communicator: the processes that mpirun has started, with sums on the host.
//
//   int main(int argc, char** argv) {
//     return preheat::comm::mpi_main(argc, argv, [](preheat::comm::mpi& world) {
//       … fit(m, network, batches, {.rank = 4, .processes = world}) …
//     });
//   }
//
// The object's lifetime is that of MPI in the process: there is one object, whose constructor
// initializes MPI and whose destructor finalizes it. One thread makes all calls. A failing call
// throws mpi_error. An exception that leaves mpi_main's function ends every process, because the
// others would wait for this one forever; if one is killed, MPI itself ends the others.
//
// Sums are MPI_Iallreduce, with which OpenMPI gives every process the same bits. MPI makes progress
// with a sum only during calls that test it, so start_sum tests the sums begun before: in a
// backward pass they progress whenever the next one starts.
#pragma once
// OpenMPI's C++ bindings are not used.
#if !defined(OMPI_SKIP_MPICXX)
#define OMPI_SKIP_MPICXX 1
#endif
#if !defined(MPICH_SKIP_MPICXX)
#define MPICH_SKIP_MPICXX 1
#endif
#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../core/communicator.hpp"

namespace preheat {

struct mpi_error : library_error {
  int code;
  mpi_error(const std::string& what, int status) : library_error(what), code(status) {}
};

namespace comm {

namespace detail {

using preheat::detail::call_site;

inline void check(int status, const char* call,
                  call_site at = {__builtin_FILE(), __builtin_LINE()}) {
  if (status != MPI_SUCCESS) {
    char text[MPI_MAX_ERROR_STRING] = {};
    int length = 0;
    MPI_Error_string(status, text, &length);
    throw mpi_error(
        preheat::detail::failed_call(call, std::string(text, std::size_t(length)), status, at),
        status);
  }
}

template <class T>
MPI_Datatype type_of() {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
  return std::is_same_v<T, float> ? MPI_FLOAT : MPI_DOUBLE;
}

template <class T>
int count_of(const T& x) {
  require(x.size() <= std::size_t(std::numeric_limits<int>::max()),
          "numbers in one message fit an int", x.size(), std::numeric_limits<int>::max());
  return int(x.size());
}

}  // namespace detail

// Whether this process is one that mpirun (or another PMI launcher) has started.
inline bool started_by_mpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"}) {
    if (std::getenv(name) != nullptr) {
      return true;
    }
  }
  return false;
}

class mpi {
 public:
  static constexpr memory_kind reaches = memory_kind::host;

  mpi() : mpi(nullptr, nullptr) {}
  mpi(int& argc, char**& argv) : mpi(&argc, &argv) {}
  mpi(const mpi&) = delete;
  mpi& operator=(const mpi&) = delete;
  ~mpi() {
    if (std::uncaught_exceptions() > exceptions_) {
      abort("an exception ends this process, and the others with it");
    }
    MPI_Comm_free(&comm_);
    MPI_Finalize();
  }

  int rank() const { return rank_; }
  int size() const { return size_; }

  // --- concept communicator
  template <class T>
  void start_sum(std::span<T> x) {
    int all_done = 0;  // not used: the test itself lets MPI progress
    detail::check(
        MPI_Testall(detail::count_of(pending_), pending_.data(), &all_done, MPI_STATUSES_IGNORE),
        "MPI_Testall");
    MPI_Request request = MPI_REQUEST_NULL;
    detail::check(MPI_Iallreduce(MPI_IN_PLACE, x.data(), detail::count_of(x), detail::type_of<T>(),
                                 MPI_SUM, comm_, &request),
                  "MPI_Iallreduce");
    pending_.push_back(request);
  }
  void wait() {
    const int status =
        MPI_Waitall(detail::count_of(pending_), pending_.data(), MPI_STATUSES_IGNORE);
    pending_.clear();
    detail::check(status, "MPI_Waitall");
  }
  double sum(double here) {
    detail::check(MPI_Allreduce(MPI_IN_PLACE, &here, 1, MPI_DOUBLE, MPI_SUM, comm_),
                  "MPI_Allreduce");
    return here;
  }
  template <class T>
  void broadcast(std::span<T> x, int root) {
    detail::check(MPI_Bcast(x.data(), detail::count_of(x), detail::type_of<T>(), root, comm_),
                  "MPI_Bcast");
  }
  void barrier() { detail::check(MPI_Barrier(comm_), "MPI_Barrier"); }
  [[noreturn]] void abort(const std::string& why) {
    std::fprintf(stderr, "preheat: process %d of %d: %s\n", rank_, size_, why.c_str());
    std::fflush(nullptr);
    MPI_Abort(MPI_COMM_WORLD, 1);
    std::abort();  // MPI_Abort does not return
  }

  // Texts between two processes, for programs that distribute work.
  struct message {
    int from;
    std::string text;
  };
  // May wait until the receiver accepts the text.
  void send(int to, const std::string& text) {
    detail::check(MPI_Send(text.data(), detail::count_of(text), MPI_CHAR, to, 0, comm_),
                  "MPI_Send");
  }
  // The next text from any process, if one has arrived.
  std::optional<message> receive() {
    int there = 0;
    MPI_Status status{};
    detail::check(MPI_Iprobe(MPI_ANY_SOURCE, 0, comm_, &there, &status), "MPI_Iprobe");
    if (there == 0) {
      return std::nullopt;
    }
    int length = 0;
    detail::check(MPI_Get_count(&status, MPI_CHAR, &length), "MPI_Get_count");
    message m{status.MPI_SOURCE, std::string(std::size_t(length), '\0')};
    detail::check(MPI_Recv(m.text.data(), length, MPI_CHAR, m.from, 0, comm_, MPI_STATUS_IGNORE),
                  "MPI_Recv");
    return m;
  }

 private:
  mpi(int* argc, char*** argv) {
    int given = MPI_THREAD_SINGLE;
    detail::check(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &given), "MPI_Init_thread");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    detail::check(MPI_Comm_dup(MPI_COMM_WORLD, &comm_), "MPI_Comm_dup");
    detail::check(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
    detail::check(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
  }

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  int exceptions_ = std::uncaught_exceptions();
  std::vector<MPI_Request> pending_;
};

static_assert(communicator<mpi>);

// The main function of a program of several processes: calls f(world) between MPI's initialization
// and finalization. An exception of f is printed with the number of the process and ends all
// processes. Returns f's int, or 0.
template <class F>
int mpi_main(int& argc, char**& argv, F f) {
  mpi world(argc, argv);
  try {
    if constexpr (std::is_same_v<std::invoke_result_t<F&, mpi&>, int>) {
      return f(world);
    } else {
      f(world);
      return 0;
    }
  } catch (const std::exception& error) {
    world.abort(error.what());
  }
}

}  // namespace comm
}  // namespace preheat
