// Eigen matrices in, an adapted Eigen matrix out: find ΔW of rank 4 that brings W near a target.
// Exit code 0 if the merged matrix is as near to the target as the training said.
#include <cstdio>
#include <preheat/preheat.hpp>

using namespace preheat;

// clang-format off
using my_method = method<adapter::lora, init::hrp<>, optim::adamw>;   // swap init::hrp<> for init::pissa
// clang-format on

int main() {
  const Eigen::MatrixXf W = Eigen::MatrixXf::Random(64, 48);
  const Eigen::MatrixXf target =
      W + Eigen::MatrixXf::Random(64, 4) * Eigen::MatrixXf::Random(4, 48);

  cpu<float> be;
  nn::least_squares network(be, W, target);  // the smallest network: loss ½‖W + s·B·A − target‖²
  auto batches = network.batches();
  // clang-format off
  auto report = fit(my_method{.optim = {.lr = 1e-2f}}, network, batches, {.rank = 4, .steps = 200, .seed = 0});
  // clang-format on
  merge(network, report);  // W += s·B·A

  const Eigen::MatrixXf adapted = network.layers()[0].W.eigen();
  const double before = 0.5 * (W - target).squaredNorm();
  const double after = 0.5 * (adapted - target).squaredNorm();
  std::printf("%s\nloss %.2f -> %.2f in %d steps, %d of them preheating\n", be.describe().c_str(),
              before, after, int(report.steps + report.calibration_steps),
              int(report.calibration_steps));
  return after < 0.01 * before && after <= 1.01 * report.losses.back() ? 0 : 1;
}
