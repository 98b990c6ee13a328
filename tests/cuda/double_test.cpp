// The double's own laws: what it refuses, what it notices, what it hides.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <functional>
#include <preheat/cuda/backend.hpp>

#include "double/control.hpp"

using namespace preheat;
using cuda_double::schedule;

namespace {

// A machine of its own before and after.
struct fresh_machine {
  explicit fresh_machine(cuda_double::settings s = {}) { cuda_double::reset(s); }
  ~fresh_machine() {
    CHECK(cuda_double::alive() == 0);
    cuda_double::reset({.when = cuda_double::default_schedule()});
  }
};

bool complained(const std::string& words) {
  for (const std::string& violation : cuda_double::violations()) {
    if (violation.find(words) != std::string::npos) {
      return true;
    }
  }
  return false;
}
// The exit code of f in a process of its own.
int exit_code(const std::function<void()>& f) {
  const pid_t child = fork();
  if (child == 0) {
    (void)!freopen("/dev/null", "w", stderr);
    f();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct write_beyond {
  float* p;
  constexpr void operator()(index_t k) const { p[k] = 0; }
};
struct running_sum {  // wrong on a device: it needs an order
  float* p;
  constexpr void operator()(index_t k) const { p[k] = k == 0 ? 1 : p[k - 1] + 1; }
};

}  // namespace

TEST_CASE("double: the host cannot touch device memory") {
  const fresh_machine machine;
  cuda<float> be;
  auto M = be.zeros(4, 4);
  CHECK(exit_code([] {}) == 0);
  CHECK(exit_code([&] {
          volatile float x = M.data()[3];
          (void)x;
        }) == 99);
  CHECK(exit_code([&] { M.data()[0] = 1; }) == 99);
}

TEST_CASE("double: fresh memory is NaN") {
  const fresh_machine machine;
  cuda<float> be;
  const cuda_matrix<float> M(be.context(), 3, 3);
  for (const float x : be.download(M)) {
    CHECK(std::isnan(x));
  }
}

TEST_CASE("double: a copy is refused that is too large, of the wrong kind, or from freed memory") {
  const fresh_machine machine;
  const cuda_context context;
  float host[64] = {};
  void* p = nullptr;
  REQUIRE(cudaMallocAsync(&p, 64, context.stream()) == cudaSuccess);
  CHECK(cudaMemcpyAsync(p, host, 68, cudaMemcpyHostToDevice, context.stream()) != cudaSuccess);
  CHECK(complained("the target needs 68 bytes"));
  CHECK(cudaMemcpyAsync(p, host, 64, cudaMemcpyDeviceToHost, context.stream()) != cudaSuccess);
  CHECK(complained("kind of copy"));
  CHECK(cudaMemcpy2DAsync(p, 8, host, 4, 8, 2, cudaMemcpyHostToDevice, context.stream()) !=
        cudaSuccess);
  CHECK(complained("a pitch"));
  REQUIRE(cudaFreeAsync(p, context.stream()) == cudaSuccess);
  CHECK(cudaMemcpyAsync(p, host, 64, cudaMemcpyHostToDevice, context.stream()) != cudaSuccess);
  CHECK(complained("the target was freed"));
  CHECK(cudaFreeAsync(p, context.stream()) != cudaSuccess);
  CHECK(complained("a second time"));
}

TEST_CASE("double: a product is refused whose operands do not fit") {
  const fresh_machine machine;
  cuda<float> be;
  auto M = be.zeros(4, 4);
  const float one = 1;
  float host[16] = {};
  const auto gemm = [&](const float* alpha, const float* a, int lda, int k) {
    return cublasSgemm(be.context()->blas(), CUBLAS_OP_N, CUBLAS_OP_N, 4, 4, k, alpha, a, lda,
                       M.data(), 4, &one, M.data(), 4);
  };
  CHECK(gemm(&one, M.data(), 4, 4) == CUBLAS_STATUS_SUCCESS);
  CHECK(gemm(&one, host, 4, 4) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(complained("A is memory of the host"));
  CHECK(gemm(&one, M.data(), 3, 4) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(complained("A: the leading dimension"));
  CHECK(gemm(&one, M.data(), 4, 5) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(complained("A needs 80 bytes"));
  CHECK(gemm(M.data(), M.data(), 4, 4) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(complained("a scalar"));
  CHECK(gemm(&one, nullptr, 4, 4) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(complained("A is null"));
}

TEST_CASE("double: a factorization is refused with too little workspace, or wide") {
  const fresh_machine machine;
  cuda<float> be;
  auto M = be.zeros(6, 4);
  auto tau = be.zeros(4, 1);
  const cusolverDnHandle_t solver = be.context()->solver();
  int size = 0;
  CHECK(cusolverDnSgeqrf_bufferSize(solver, 6, 4, M.data(), 6, &size) == CUSOLVER_STATUS_SUCCESS);
  auto work = be.zeros(size, 1);
  const auto geqrf = [&](int entries) {
    return cusolverDnSgeqrf(solver, 6, 4, M.data(), 6, tau.data(), work.data(), entries,
                            be.context()->info());
  };
  CHECK(geqrf(size - 1) == CUSOLVER_STATUS_INVALID_VALUE);
  CHECK(complained("the workspace has"));
  CHECK(geqrf(size) == CUSOLVER_STATUS_SUCCESS);
  be.context()->synchronize();
  CHECK(std::isnan(be.download(work).front()));
  CHECK(cusolverDnSgesvd_bufferSize(solver, 4, 6, &size) == CUSOLVER_STATUS_INVALID_VALUE);
  CHECK(complained("m >= n"));
}

TEST_CASE(
    "double: a kernel that writes beside a block is noticed, one far outside ends the program") {
  const fresh_machine machine;
  cuda<float> be;
  {
    auto M = be.zeros(5, 1);
    launch(*be.context(), 6, write_beyond{M.data()});
  }
  be.context()->synchronize();
  CHECK(complained("a kernel wrote beside"));
  auto N = be.zeros(5, 1);
  CHECK(exit_code([&] {
          launch(*be.context(), 4096, write_beyond{N.data()});
          be.context()->synchronize();
        }) == 99);
}

TEST_CASE("double: kernels run in no order that a program may count on") {
  const fresh_machine machine;
  cuda<float> be;
  auto M = be.zeros(5, 1);
  launch(*be.context(), 5, running_sum{M.data()});
  CHECK(be.download(M) != std::vector<float>{1, 2, 3, 4, 5});
}

TEST_CASE("double: nothing has happened before somebody waits, if lazy") {
  const fresh_machine machine({.when = schedule::lazy});
  cuda<float> be;
  auto M = be.zeros(2, 2);
  float x = 7;
  const auto fetch = [&] {
    CHECK(cudaMemcpyAsync(&x, M.data(), sizeof x, cudaMemcpyDeviceToHost, be.context()->stream()) ==
          cudaSuccess);
  };
  fetch();
  CHECK(std::isnan(x));
  be.context()->synchronize();
  CHECK(x == 0);
  // Two contexts are two streams: without a wait, one does not see what the other does.
  cuda<float> other;
  be.fill(5, M);
  auto N = other.zeros(2, 2);
  other.copy(transpose::no, M, N);
  CHECK(other.download(N) == std::vector<float>(4, 0));
  be.context()->synchronize();
  other.copy(transpose::no, M, N);
  CHECK(other.download(N) == std::vector<float>(4, 5));
}

TEST_CASE("double: what is not released is counted") {
  const fresh_machine machine;
  const cuda_context context;
  const long before = cuda_double::alive();
  void* p = nullptr;
  REQUIRE(cudaMallocAsync(&p, 64, context.stream()) == cudaSuccess);
  CHECK(cuda_double::alive() == before + 1);
  CHECK(cudaFreeAsync(p, context.stream()) == cudaSuccess);
  CHECK(cuda_double::alive() == before);
}

TEST_CASE("double: calls fail as ordered") {
  const fresh_machine machine;
  cuda<float> be;
  auto M = be.zeros(4, 4);
  cuda_double::fail_call(2);
  be.fill(1, M);
  CHECK_THROWS_AS(be.fill(1, M), cuda_error);
  be.fill(1, M);
  cuda_double::fail_call_of("cublas<t>gemm", 1, int(CUBLAS_STATUS_EXECUTION_FAILED));
  std::string text;
  try {
    be.gemm(1, transpose::no, M, transpose::no, M, 0, M);
  } catch (const cuda_error& e) {
    text = e.what();
    CHECK(e.code == int(CUBLAS_STATUS_EXECUTION_FAILED));
  }
  CHECK(text.find("cublas<t>gemm: CUBLAS_STATUS_EXECUTION_FAILED (13), backend.hpp:") !=
        std::string::npos);
  // Work that fails on the device is reported by a later call, and by all after it.
  cuda_double::fail_work(1);
  CHECK_THROWS_AS(
      [&] {
        be.fill(1, M);
        be.context()->synchronize();
      }(),
      cuda_error);
  CHECK_THROWS_AS(be.fill(1, M), cuda_error);
}

TEST_CASE("double: no device, and too little memory") {
  {
    const fresh_machine machine({.devices = 0});
    CHECK_THROWS_WITH_AS(cuda<float>(),
                         "preheat: no CUDA device: no CUDA-capable device is detected", cuda_error);
  }
  const fresh_machine machine({.memory = 1U << 20U});
  CHECK_THROWS_AS(cuda<float>(), cuda_error);
  cuda<float> be(std::make_shared<cuda_context>(cuda_options{.cublas_workspace = 0}));
  CHECK_THROWS_AS(be.zeros(1024, 1024), cuda_error);
}
