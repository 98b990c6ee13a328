// expect: preheat: a policy has a hook that cannot be called
#include "paper.hpp"

using namespace preheat;

// The hook is called with the context of the step too.
struct ridge : optim::adamw {
  template <backend Be, class P>
  void on(hook::penalize, Be&, const P&, P&) const {}
};

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<ridge>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
