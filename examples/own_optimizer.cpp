// A user's own optimizer policy: Lion (arXiv 2302.06675), which moves every number by the learning
// rate, up or down:
//
//   p ← p − lr·(sign(β₁·m + (1 − β₁)·g) + λ·p),   m ← β₂·m + (1 − β₂)·g
//
// It prints the loss of LoRA under AdamW and under this optimizer, on the same problem. Exit code 0
// if Lion brings the loss below a tenth of its start.
#include <cstdio>
#include <preheat/preheat.hpp>

using namespace preheat;

// What is done to every entry of a parameter. A backend runs it over whole matrices, on a GPU too:
// it is trivially copyable, and calls no function that is not constexpr.
template <class T>
struct lion_kernel {
  T rate, decay, beta1, beta2;
  constexpr void operator()(T& p, T& m, const T& g) const {
    const T direction = beta1 * m + (1 - beta1) * g;
    const T sign = direction > 0 ? T(1) : direction < 0 ? T(-1) : T(0);
    p -= rate * (sign + decay * p);
    m = beta2 * m + (1 - beta2) * g;
  }
};

struct lion {
  using axis = axes::optim;

  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.99;
  double weight_decay = 0;

  // What it keeps for a layer's parameters P: one matrix for each of theirs. A change of rank calls
  // for_each_moment, a checkpoint calls archive.
  template <class Be, class P>
  struct state {
    P momentum;
    template <class F>
    void for_each_moment(F f) {
      f(momentum);
    }
    template <class Archive>
    void archive(Archive& ar) {
      ar("momentum", momentum);
    }
  };

  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    return {zeros_like(be, p)};
  }

  // One step of all matrices of a layer: A and B of LoRA, whatever another adapter has.
  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    using T = scalar_of<Be>;
    for_each_trained(
        [&](auto parameter, mat<Be>& x, mat<Be>& g, mat<Be>& m) {
          const T rate = T(context.rate(parameter.role));  // lr by the schedule
          const T decay = T(weight_decay * context.decay(parameter.role));
          be.apply(lion_kernel<T>{rate, decay, T(beta1), T(beta2)}, x, m, g);
        },
        p, gradient, st.momentum);
  }
};

// The losses at the start and at the end of 200 steps on ½‖W + s·B·A − target‖².
template <class Method>
std::pair<double, double> losses_of(const char* name, const Method& m) {
  cpu<float> be;
  const Eigen::MatrixXf W = linalg::normal(be, 64, 48, 0.1, generator(1)).eigen();
  const Eigen::MatrixXf change = linalg::normal(be, 64, 4, 0.5, generator(2)).eigen() *
                                 linalg::normal(be, 4, 48, 0.5, generator(3)).eigen();
  nn::least_squares network(be, W, Eigen::MatrixXf(W + change));

  const auto report =
      fit(m, network, network.batches(), {.rank = 4, .steps = 200, .schedule = schedule::linear{}});
  std::printf("%-6s loss %8.3f -> %8.3f\n", name, report.losses.front(), report.losses.back());
  return {report.losses.front(), report.losses.back()};
}

int main() {
  losses_of("adamw", method<init::kaiming, optim::adamw>{.optim = {.lr = 1e-2}});
  const auto [before, after] =
      losses_of("lion", method<init::kaiming, lion>{.optim = {.lr = 1e-2}});
  return after < 0.1 * before ? 0 : 1;
}
