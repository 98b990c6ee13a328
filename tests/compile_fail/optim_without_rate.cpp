// expect: preheat: an optimizer has the member `double lr`
#include "paper.hpp"

using namespace preheat;

struct descent {
  using axis = axes::optim;

  template <class Be, class P>
  struct state {
    template <class F>
    void for_each_moment(F) {}
    template <class Archive>
    void archive(Archive&) {}
  };

  template <backend Be, class P>
  state<Be, P> start(Be&, const P&) const {
    return {};
  }
  template <backend Be, class P>
  void step(Be&, P&, P&, state<Be, P>&, const step_context&) const {}
};

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<descent>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
