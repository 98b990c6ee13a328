// One linear layer under DoRA, under LoRA with a trained bias, and under two LoRA adapters at once:
// output, gradients, merge and unmerge, against PEFT's lora.Linear and torch's autograd. In double
// at the fixtures' tolerance, in float at its own.
#include <preheat/adapter/dora.hpp>
#include <preheat/adapter/lora_bias.hpp>
#include <preheat/nn/mlp.hpp>
#include <preheat/train/adapted.hpp>

#include "recorded_layer.hpp"

namespace {

using golden::check_matrix;
using golden::check_tokens;
using golden::dense;
using golden::fixture;
using golden::host;
using golden::index_t;
using golden::recorded_layer;
using preheat::in;
using preheat::mat;
using preheat::op;
using preheat::out;

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
  typename Adapter::template tape<Be> tape;
  mat<Be> Y = be.zeros(given.W.rows(), given.X.cols());
  adapter.forward(be, p, base, input, out<Be>(Y), tape);
  check_tokens(be, file, "Y", Y);

  auto gradient = preheat::zeros_like(be, p);
  mat<Be> dX = be.zeros(given.X.rows(), given.X.cols());
  adapter.backward(be, p, base, input, in<Be>(given.dY), gradient,
                   preheat::input_gradient<Be>{dX, dX}, tape);
  check_tokens(be, file, "dX", dX);
  check_matrix(be, file, "dA", gradient.A);
  check_matrix(be, file, "dB", gradient.B);
  preheat::visit(
      [&](auto part, const mat<Be>& g) {
        if constexpr (part.kind == preheat::role::magnitude || part.kind == preheat::role::bias) {
          check_matrix(be, file, last_gradient, g);
        }
      },
      gradient);

  mat<Be> delta = be.zeros(given.W.rows(), given.W.cols());
  const preheat::factors<Be> f = adapter.product(be, p);
  be.gemm(given.scaling, op::none, f.B, op::none, f.A, 0, delta);
  check_matrix(be, file, "delta", delta);
}

// The output of W and b alone, after merging.
template <class T>
void check_merged_output(const fixture& file, const recorded_layer<T>& given) {
  using Be = preheat::cpu<T>;
  Be be;
  mat<Be> Y = be.zeros(given.W.rows(), given.X.cols());
  be.gemm(1, op::none, given.W, op::none, given.X, 0, Y);
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

  const mat<Be> c = adapter.scales(be, p, given.scaling, in<Be>(given.W));
  adapter.merge(be, p, given.scaling, out<Be>(given.W), out<Be>(given.b));
  check_matrix(be, file, "W_merged", given.W);
  check_merged_output(file, given);
  adapter.unmerge(be, p, given.scaling, in<Be>(c), out<Be>(given.W));
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

  adapter.merge(be, p, given.scaling, out<Be>(given.W), out<Be>(given.b));
  check_matrix(be, file, "W_merged", given.W);
  check_matrix(be, file, "b_merged", given.b);
  check_merged_output(file, given);
  adapter.merge(be, p, -given.scaling, out<Be>(given.W), out<Be>(given.b));
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

  void begin(preheat::pass p) {
    first_->begin(p);
    second_->begin(p);
    base_.begin(p);
  }
  out<Be> forward(index_t l, in<Be> X) {
    return sum(first_->forward(l, X), second_->forward(l, X), base_.forward(l, X));
  }
  out<Be> backward(index_t l, in<Be> X, in<Be> dY, bool need_dx) {
    const out<Be> d_first = first_->backward(l, X, dY, need_dx);
    const out<Be> d_second = second_->backward(l, X, dY, need_dx);
    const out<Be> d_base = base_.backward(l, X, dY, need_dx);
    return need_dx ? sum(d_first, d_second, d_base) : out<Be>{};
  }
  index_t first_trained() const {
    return std::min(first_->first_trained(), second_->first_trained());
  }

 private:
  using T = typename Be::scalar;
  out<Be> sum(out<Be> a, in<Be> b, in<Be> base) {
    be_->each(preheat::linalg::axpby<T>{1, 1}, a, b);
    be_->each(preheat::linalg::axpby<T>{-1, 1}, a, base);
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
  std::vector<preheat::layer<Be>> layers;
  layers.push_back({"layer", mat<Be>(file.matrix("W")), {}});
  preheat::nn::mlp<Be> net(be, std::move(layers));
  const mat<Be> X(file.tokens("X"));

  const auto attach = [&](auto& lin, const std::string& number) {
    const double alpha = file.param<double>("alpha" + number);
    const index_t rank = file.param<index_t>("r" + number);
    const double s =
        (file.flag("rslora" + number) ? preheat::scaling::over_sqrt_rank(alpha)
                                      : preheat::scaling::over_rank(alpha))(rank, rank);
    CHECK(s == doctest::Approx(file.param<double>("scaling" + number)).epsilon(1e-15));
    lin.attach(0, {mat<Be>(file.matrix("A" + number)), mat<Be>(file.matrix("B" + number))}, T(s));
  };
  typename sum_of_two<Be>::adapted first(net);
  typename sum_of_two<Be>::adapted second(net);
  attach(first, "1");
  attach(second, "2");
  sum_of_two<Be> both(net, first, second);
  preheat::base_operator<Be> none(net);
  const auto output = [&](auto& lin) { return host(be, net.forward(X, lin)); };
  const auto check = [&](const char* which, const dense& Y, const char* stored) {
    golden::check_close(file, which, Y, file.tokens(stored), golden::layer_rtol<T>());
  };
  check("the first alone", output(first), "Y1");
  check("the second alone", output(second), "Y2");
  check("both", output(both), "Y12");
  check("none", output(none), "Y0");

  // The input's gradient through both is that through the merged weight.
  const mat<Be> dY(file.tokens("Y0"));
  both.begin(preheat::pass::training);
  both.forward(0, X);
  const dense dX = host(be, both.backward(0, X, dY, true));
  first.fold(0);
  second.fold(0);
  check_matrix(be, file, "W_merged", net.layers()[0].W);
  check("both merged", output(none), "Y12");
  const dense merged = host(be, net.layers()[0].W).transpose() * host(be, dY);
  golden::check_close(file, "dX of both", dX, merged, golden::layer_rtol<T>());
}

}  // namespace

#define PREHEAT_GOLDEN_LAYER(NAME, CHECK_LAYER)   \
  TEST_CASE("golden layers: " NAME) {             \
    CHECK_LAYER<double>(fixture("layers/" NAME)); \
    CHECK_LAYER<float>(fixture("layers/" NAME));  \
  }
PREHEAT_GOLDEN_LAYER("dora", check_dora)
PREHEAT_GOLDEN_LAYER("dora_rslora", check_dora)
PREHEAT_GOLDEN_LAYER("dora_bias", check_dora)
PREHEAT_GOLDEN_LAYER("dora_rslora_bias", check_dora)
PREHEAT_GOLDEN_LAYER("dora_r1", check_dora)
PREHEAT_GOLDEN_LAYER("lora_bias", check_lora_bias)
PREHEAT_GOLDEN_LAYER("two_adapters", check_two_adapters)
#undef PREHEAT_GOLDEN_LAYER
