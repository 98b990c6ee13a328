// expect: preheat: factors_of is for methods that take a product out of W once, at the start
#include <preheat/convert/plain_lora.hpp>
#include <preheat/preheat.hpp>

int main() {
  using namespace preheat;
  cpu<float> be;
  nn::least_squares net(be, Eigen::MatrixXf::Zero(4, 3), Eigen::MatrixXf::Zero(4, 3));
  auto batches = net.batches();
  auto run = start_run(cola{}, net, batches, {.rank = 1});
  factors_of(run);
}
