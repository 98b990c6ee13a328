// expect: preheat: optim::proximal shrinks learned gates; use adapter::gated<>
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<optim::proximal<>, adapter::gated<adapter::gate::open>>{}, net,
                    net.batches(), {.rank = 2});
  return int(report.losses.size());
}
