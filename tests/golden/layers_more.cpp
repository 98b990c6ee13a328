// One linear layer under DoRA, under LoRA with a trained bias, and under two LoRA adapters at once:
// output, gradients, merge and unmerge, against PEFT's lora.Linear and torch's autograd. In double
// at the fixtures' tolerance, in float at its own.
#include <preheat/adapter/dora.hpp>
#include <preheat/adapter/lora_bias.hpp>
#include <preheat/nn/mlp.hpp>
#include <preheat/operators/adapted.hpp>

#include "recorded_layer.hpp"

namespace {

using golden::check_matrix;
using golden::check_tokens;
using golden::dense;
using golden::fixture;
using golden::host;
using golden::index_t;
using golden::recorded_layer;
using preheat::const_view_of;
using preheat::mat;
using preheat::transpose;
using preheat::view_of;

// Output, gradients and product of the adapter alone; `last_gradient` is the fixture's name for the
// gradient of the part that LoRA does not have.
template <class T, class Adapter>
void check_adapter(const fixture& file, const Adapter& adapter, recorded_layer<T>& given,
                   const typename Adapter::template params<preheat::cpu<T>>& p,
                   const char* last_gradient) {
  using Be = preheat::cpu<T>;
  Be be;
  const preheat::frozen_linear<Be> base{given.W, given.b, given.scaling};
  const preheat::layer_input<Be> input{given.X, given.X};
  typename Adapter::template saved_activations<Be> saved_activations;
  mat<Be> Y = be.zeros(given.W.rows(), given.X.cols());
  adapter.forward(be, p, base, input, view_of<Be>(Y), saved_activations);
  check_tokens(be, file, "Y", Y);

  auto gradient = preheat::zeros_like(be, p);
  mat<Be> dX = be.zeros(given.X.rows(), given.X.cols());
  adapter.backward(be, p, base, input, const_view_of<Be>(given.dY), gradient,
                   preheat::input_gradient<Be>{dX, dX}, saved_activations);
  check_tokens(be, file, "dX", dX);
  check_matrix(be, file, "dA", gradient.A);
  check_matrix(be, file, "dB", gradient.B);
  preheat::for_each_trained(
      [&](auto parameter, const mat<Be>& g) {
        if constexpr (parameter.role == preheat::parameter_role::magnitude ||
                      parameter.role == preheat::parameter_role::bias) {
          check_matrix(be, file, last_gradient, g);
        }
      },
      gradient);

  mat<Be> delta = be.zeros(given.W.rows(), given.W.cols());
  const preheat::factors<Be> f = adapter.product(be, p);
  be.gemm(given.scaling, transpose::no, f.B, transpose::no, f.A, 0, delta);
  check_matrix(be, file, "delta", delta);
}

// The output of W and b alone, after merging.
template <class T>
void check_merged_output(const fixture& file, const recorded_layer<T>& given) {
  using Be = preheat::cpu<T>;
  Be be;
  mat<Be> Y = be.zeros(given.W.rows(), given.X.cols());
  be.gemm(1, transpose::no, given.W, transpose::no, given.X, 0, Y);
  if (given.b.rows() > 0) {
    be.add_to_cols(given.b, Y);
  }
  check_tokens(be, file, "Y_merged", Y);
}

template <class T>
void check_dora(const fixture& file) {
  using Be = preheat::cpu<T>;
  Be be;
  const preheat::adapter::dora adapter;
  recorded_layer<T> given(file);
  const preheat::frozen_linear<Be> base{given.W, given.b, given.scaling};

  // PEFT's start is B = 0.
  const auto fresh =
      adapter.start(be, base, {mat<Be>(file.matrix("A")), be.zeros(given.B.rows(), given.B.cols())},
                    preheat::generator());
  check_matrix(be, file, "m_init", fresh.magnitude);

  auto p = adapter.start(be, base, {std::move(given.A), std::move(given.B)}, preheat::generator());
  p.magnitude = mat<Be>(file.matrix("m"));
  check_adapter<T>(file, adapter, given, p, "dm");

  const mat<Be> c = adapter.scales(be, p, given.scaling, const_view_of<Be>(given.W));
  adapter.merge(be, p, given.scaling, view_of<Be>(given.W), view_of<Be>(given.b));
  check_matrix(be, file, "W_merged", given.W);
  check_merged_output(file, given);
  adapter.unmerge(be, p, given.scaling, const_view_of<Be>(c), view_of<Be>(given.W));
  check_matrix(be, file, "W_unmerged", given.W);
  check_matrix(be, file, "W", given.W);
}

template <class T>
void check_lora_bias(const fixture& file) {
  using Be = preheat::cpu<T>;
  Be be;
  const preheat::adapter::lora_bias adapter;
  recorded_layer<T> given(file);
  const preheat::frozen_linear<Be> base{given.W, given.b, given.scaling};
  auto p = adapter.start(be, base, {std::move(given.A), std::move(given.B)}, preheat::generator());
  p.bias = mat<Be>(file.matrix("lora_b"));
  check_adapter<T>(file, adapter, given, p, "dlora_b");

  adapter.merge(be, p, given.scaling, view_of<Be>(given.W), view_of<Be>(given.b));
  check_matrix(be, file, "W_merged", given.W);
  check_matrix(be, file, "b_merged", given.b);
  check_merged_output(file, given);
  adapter.merge(be, p, -given.scaling, view_of<Be>(given.W), view_of<Be>(given.b));
  check_matrix(be, file, "W_unmerged", given.W);
  check_matrix(be, file, "b", given.b);
}

// The library adapts a layer once. Two adapters on one layer are a linear operator of the user's:
// the sum of two operators on the same network, less the base that both contain.
template <class Be>
class sum_of_two {
 public:
  using adapted = preheat::adapted<Be, preheat::adapter::lora>;

  template <class Net>
  sum_of_two(Net& net, adapted& first, adapted& second)
      : be_(&net.backend()), first_(&first), second_(&second), base_(net) {}

  void begin(preheat::pass_kind p) {
    first_->begin(p);
    second_->begin(p);
    base_.begin(p);
  }
  view_of<Be> forward(index_t l, const_view_of<Be> X) {
    return sum(first_->forward(l, X), second_->forward(l, X), base_.forward(l, X));
  }
  view_of<Be> backward(index_t l, const_view_of<Be> X, const_view_of<Be> dY, bool need_dx) {
    const view_of<Be> d_first = first_->backward(l, X, dY, need_dx);
    const view_of<Be> d_second = second_->backward(l, X, dY, need_dx);
    const view_of<Be> d_base = base_.backward(l, X, dY, need_dx);
    return need_dx ? sum(d_first, d_second, d_base) : view_of<Be>{};
  }
  index_t first_trained() const {
    return std::min(first_->first_trained(), second_->first_trained());
  }

 private:
  using T = typename Be::scalar;
  view_of<Be> sum(view_of<Be> a, const_view_of<Be> b, const_view_of<Be> base) {
    be_->apply(preheat::linalg::axpby<T>{1, 1}, a, b);
    be_->apply(preheat::linalg::axpby<T>{-1, 1}, a, base);
    return a;
  }

  Be* be_;
  adapted* first_;
  adapted* second_;
  preheat::base_operator<Be> base_;
};

template <class T>
void check_two_adapters(const fixture& file) {
  using Be = preheat::cpu<T>;
  static_assert(preheat::linear_operator<sum_of_two<Be>, Be>);
  Be be;
  std::vector<preheat::base_layer<Be>> layers;
  layers.push_back({"layer", mat<Be>(file.matrix("W")), {}});
  preheat::nn::mlp<Be> net(be, std::move(layers));
  const mat<Be> X(file.tokens("X"));

  const auto attach = [&](auto& linear, const std::string& number) {
    const index_t rank = file.param<index_t>("r" + number);
    const double s = golden::scaling_of(file, "alpha" + number, "rslora" + number)(rank, rank);
    CHECK(s == doctest::Approx(file.param<double>("scaling" + number)).epsilon(1e-15));
    linear.attach(0, {mat<Be>(file.matrix("A" + number)), mat<Be>(file.matrix("B" + number))},
                  T(s));
  };
  typename sum_of_two<Be>::adapted first(net);
  typename sum_of_two<Be>::adapted second(net);
  attach(first, "1");
  attach(second, "2");
  sum_of_two<Be> both(net, first, second);
  preheat::base_operator<Be> none(net);
  const auto output = [&](auto& linear) { return host(be, net.forward(X, linear)); };
  const auto check = [&](const char* which, const dense& Y, const char* stored) {
    golden::check_close(file, which, Y, file.tokens(stored), golden::layer_rtol<T>());
  };
  check("the first alone", output(first), "Y1");
  check("the second alone", output(second), "Y2");
  check("both", output(both), "Y12");
  check("none", output(none), "Y0");

  // The input's gradient through both is that through the merged weight.
  const mat<Be> dY(file.tokens("Y0"));
  both.begin(preheat::pass_kind::training);
  both.forward(0, X);
  const dense dX = host(be, both.backward(0, X, dY, true));
  first.merge(0);
  second.merge(0);
  check_matrix(be, file, "W_merged", net.layers()[0].W);
  check("both merged", output(none), "Y12");
  const dense merged = host(be, net.layers()[0].W).transpose() * host(be, dY);
  golden::check_close(file, "dX of both", dX, merged, golden::layer_rtol<T>());
}

void dora_in_both(const fixture& file) {
  check_dora<double>(file);
  check_dora<float>(file);
}
void lora_bias_in_both(const fixture& file) {
  check_lora_bias<double>(file);
  check_lora_bias<float>(file);
}
void two_adapters_in_both(const fixture& file) {
  check_two_adapters<double>(file);
  check_two_adapters<float>(file);
}

}  // namespace

PREHEAT_GOLDEN("layers", "dora", dora_in_both)
PREHEAT_GOLDEN("layers", "dora_rslora", dora_in_both)
PREHEAT_GOLDEN("layers", "dora_bias", dora_in_both)
PREHEAT_GOLDEN("layers", "dora_rslora_bias", dora_in_both)
PREHEAT_GOLDEN("layers", "dora_r1", dora_in_both)
PREHEAT_GOLDEN("layers", "lora_bias", lora_bias_in_both)
PREHEAT_GOLDEN("layers", "two_adapters", two_adapters_in_both)
