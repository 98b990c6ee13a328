// KaSA: init::kasa's truncated base, and adapter::gated with a given diagonal as the layer, against
// PEFT's lora.Linear with KasaConfig and torch's autograd.
#include <preheat/adapter/gated.hpp>
#include <preheat/cpu/backend.hpp>
#include <preheat/init/kasa.hpp>
#include <preheat/nn/mlp.hpp>
#include <preheat/operators/adapted.hpp>
#include <preheat/train/scaling.hpp>

#include "fixtures.hpp"

namespace {

using golden::check_close;
using golden::dense;
using golden::fixture;
using golden::host;
using golden::index_t;
using layer_type = preheat::adapter::gated<>;

// Computed in float, a sum of k terms is off by up to k·6e-8, and in practice by √k·6e-8.
template <class T>
constexpr double tolerance() {
  return std::is_same_v<T, double> ? 1e-12 : 5e-6;
}

template <class T>
T scaling_of(const fixture& file) {
  const index_t r = file.param<index_t>("r");
  const double s = preheat::scaling::over_rank(file.param<double>("alpha"))(r, r);
  CHECK(s == file.param<double>("scaling"));
  return T(s);
}

// W without its r least components. PEFT's SVD is in float.
template <class T>
void check_base(const fixture& file) {
  using Be = preheat::cpu<T>;
  Be be;
  const preheat::mat<Be> W(file.matrix("W"));
  const preheat::target_layer<Be> site{
      .W = W, .rank = file.param<index_t>("r"), .scaling = scaling_of<T>(file)};
  const preheat::replacement<Be> answer = preheat::init::kasa{}(be, site);
  check_close(file, "W_base", host(be, answer.W), file.matrix("W_base"), 1e-5);
  CHECK(host(be, answer.f.B).isZero(0));
}

// The layer on the base as PEFT left it.
template <class T>
void check_layer(const fixture& file) {
  using Be = preheat::cpu<T>;
  constexpr double rtol = tolerance<T>();
  Be be;
  std::vector<preheat::base_layer<Be>> layers;
  layers.push_back({"layer", preheat::mat<Be>(file.matrix("W_base")), {}});
  preheat::nn::mlp<Be> net(be, std::move(layers));
  preheat::adapted<Be, layer_type> linear(net);
  linear.attach(0,
                {preheat::mat<Be>(file.matrix("A")), preheat::mat<Be>(file.matrix("B")),
                 preheat::mat<Be>(file.matrix("d"))},
                scaling_of<T>(file));

  const preheat::mat<Be> X(file.tokens("X"));
  const preheat::mat<Be> dY(file.tokens("dY"));
  linear.begin(preheat::pass_kind::training);
  check_close(file, "Y", host(be, linear.forward(0, X)), file.tokens("Y"), rtol);
  check_close(file, "dX", host(be, linear.backward(0, X, dY, true)), file.tokens("dX"), rtol);
  const auto& gradient = linear.layers()[0].gradient;
  check_close(file, "dA", host(be, gradient.A), file.matrix("dA"), rtol);
  check_close(file, "dB", host(be, gradient.B), file.matrix("dB"), rtol);
  check_close(file, "dd", host(be, gradient.g), file.matrix("dd"), rtol);

  linear.merge(0);
  check_close(file, "W_merged", host(be, net.layers()[0].W), file.matrix("W_merged"), rtol);
}

}  // namespace

TEST_CASE("golden kasa: the truncated base") {
  const fixture file("layers/kasa");
  check_base<float>(file);
  check_base<double>(file);
}
TEST_CASE("golden kasa: the layer") {
  const fixture file("layers/kasa");
  check_layer<float>(file);
  check_layer<double>(file);
}
