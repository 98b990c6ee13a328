// The program that every consumer project builds and runs.
#include <cstdio>
#include <preheat/preheat.hpp>

int main() {
  preheat::cpu<double> be;
  preheat::nn::least_squares net(be, Eigen::MatrixXd::Zero(8, 6), Eigen::MatrixXd::Random(8, 6));
  const auto report = preheat::fit(preheat::method<preheat::init::hrp<>>{.optim = {.lr = 1e-2}},
                                   net, net.batches(), {.rank = 2, .steps = 20});
  std::puts(be.describe().c_str());
  return report.status == preheat::fit_status::completed ? 0 : 1;
}
