// The quickstart on a GPU: only the backend and the way in and out of memory differ.
//
//   nvcc -x cu -std=c++20 --expt-relaxed-constexpr -DEIGEN_NO_CUDA -arch=native -I include
//        -I /usr/include/eigen3 examples/cuda_quickstart.cpp -lcublas -lcusolver
//
// Exit code 0 if the merged matrix is near the target, 77 without a device.
#include <preheat/cuda/backend.hpp>
#include <preheat/preheat.hpp>

#include <cstdio>

using namespace preheat;
using device = cuda<float>;

// An Eigen matrix on the device.
static cuda_matrix<float> to_device(device& be, const Eigen::MatrixXf& M) {
  cuda_matrix<float> copy = be.zeros(M.rows(), M.cols());
  be.upload({M.data(), std::size_t(M.size())}, copy);
  return copy;
}

int main() {
  if (const std::string reason = why_no_cuda(); !reason.empty()) {
    std::printf("skipped: %s\n", reason.c_str());
    return 77;
  }
  const Eigen::MatrixXf W = Eigen::MatrixXf::Random(64, 48);
  const Eigen::MatrixXf target =
      W + Eigen::MatrixXf::Random(64, 4) * Eigen::MatrixXf::Random(4, 48);

  device be;
  nn::least_squares<device> network(be, to_device(be, W), to_device(be, target));
  auto batches = network.batches();
  using my_method = method<adapter::lora, init::hrp<>, optim::adamw>;
  auto report = fit(my_method{.optim = {.lr = 1e-2}}, network, batches, {.rank = 4, .steps = 200});
  merge(network, report);

  const std::vector<float> host = be.download(network.layers()[0].W);
  const Eigen::MatrixXf adapted = Eigen::Map<const Eigen::MatrixXf>(host.data(), 64, 48);
  const double before = 0.5 * (W - target).squaredNorm();
  const double after = 0.5 * (adapted - target).squaredNorm();
  std::printf("%s\nloss %.2f -> %.2f\n", be.describe().c_str(), before, after);
  return after < 0.01 * before ? 0 : 1;
}
