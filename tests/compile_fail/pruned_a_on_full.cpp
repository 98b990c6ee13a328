// expect: preheat: rank::pruned_a prunes a trained A; use an adapter that has one
#include "paper.hpp"

using namespace preheat;

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(with<full_fine_tuning, rank::pruned_a<>>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
