// PEFT's conversion of adapters on a residual base to plain LoRA on the original one: the converted
// files equal preheat's bit by bit, α follows, and trained and converted adapter give the same output.
#include <fstream>
#include <nlohmann/json.hpp>
#include <preheat/convert/recompress.hpp>
#include <preheat/cpu/backend.hpp>
#include <preheat/nn/mlp.hpp>

#include "fixtures.hpp"

namespace {

using golden::check_close;
using golden::check_number;
using golden::dense;
using golden::fixture;
using golden::host;
using golden::index_t;

// The peer computes in float.
using backend_type = preheat::cpu<float>;
using matrix = preheat::mat<backend_type>;
using factors_type = preheat::factors<backend_type>;
using plain_type = preheat::plain_lora<backend_type>;
constexpr double rtol = 1e-5;

const std::vector<std::string> modules{"fc1", "fc2"};

// A directory that PEFT saved.
struct saved_adapter {
  fixture tensors;
  index_t r = 0;
  double alpha = 0;
  bool rslora = false;
  bool plain = false;

  explicit saved_adapter(const std::string& directory) : tensors(directory + "/adapter_model") {
    std::ifstream file(golden::path_of(directory + "/adapter_config.json"));
    const nlohmann::json config = nlohmann::json::parse(file);
    r = config.at("r").get<index_t>();
    alpha = config.at("lora_alpha").get<double>();
    rslora = config.at("use_rslora").get<bool>();
    plain = config.at("init_lora_weights") == true;
  }
  preheat::scaling_rule rule() const {
    return rslora ? preheat::scaling::over_sqrt_rank(alpha) : preheat::scaling::over_rank(alpha);
  }
  double scaling() const { return rule()(r, r); }
  dense A(const std::string& module) const { return factor(module, "lora_A"); }
  dense B(const std::string& module) const { return factor(module, "lora_B"); }
  factors_type factors(const std::string& module) const {
    return {matrix(A(module)), matrix(B(module))};
  }

 private:
  dense factor(const std::string& module, const std::string& name) const {
    return tensors.matrix("base_model.model." + module + "." + name + ".weight");
  }
};

// The network's output with these adapters on the base whose weights end in `kind`.
dense output(const fixture& check, const std::string& kind,
             const std::vector<plain_type>& adapters) {
  backend_type be;
  std::vector<preheat::base_layer<backend_type>> layers;
  for (const std::string& module : modules) {
    layers.push_back({module, matrix(check.matrix(module + ".weight_" + kind)),
                      matrix(check.matrix(module + ".bias_original"))});
  }
  preheat::nn::mlp<backend_type> net(be, std::move(layers));
  preheat::adapted<backend_type, preheat::adapter::lora> linear(net);
  for (std::size_t l = 0; l < adapters.size(); ++l) {
    const plain_type& one = adapters[l];
    linear.attach(index_t(l),
                  {preheat::clone(be, preheat::const_view_of<backend_type>(one.f.A)),
                   preheat::clone(be, preheat::const_view_of<backend_type>(one.f.B))},
                  float(one.scaling));
  }
  return host(be, net.forward(matrix(check.tokens("X")), linear));
}

void check_conversion(const std::string& name) {
  backend_type be;
  const fixture check(name + "/check");
  const saved_adapter start(name + "/init");
  const saved_adapter trained(name + "/trained");
  const saved_adapter converted(name + "/converted");
  REQUIRE(trained.r == check.param<index_t>("r"));
  REQUIRE(trained.alpha == check.param<double>("alpha"));
  REQUIRE(trained.rslora == check.flag("use_rslora"));
  CHECK_FALSE(trained.plain);
  CHECK(converted.plain);  // or PEFT would draw a residual base again
  CHECK(converted.rslora == trained.rslora);

  std::vector<plain_type> before;
  std::vector<plain_type> after;
  for (const std::string& module : modules) {
    CAPTURE(module);
    const plain_type ours = preheat::to_plain_lora(be, trained.factors(module),
                                                   start.factors(module), trained.scaling());
    check_close(converted.tensors, module + ".A", host(be, ours.f.A), converted.A(module), 0);
    check_close(converted.tensors, module + ".B", host(be, ours.f.B), converted.B(module), 0);
    CHECK(ours.rank == converted.r);
    CHECK(ours.rank == check.param<index_t>("converted_r"));
    const double alpha = preheat::alpha_of(trained.rule().kind, ours.scaling, ours.rank);
    check_number(check, "converted alpha", alpha, converted.alpha, 1e-14);
    check_number(check, "scaling", converted.scaling(), ours.scaling, 1e-14);

    // The base that training saw is the original without the start's product. Where that leaves
    // little of W, the rounding of numbers of W's own size counts.
    const dense W = check.matrix(module + ".weight_original");
    const dense given = start.scaling() * start.B(module).lazyProduct(start.A(module));
    golden::check_within(check, module + ".weight_residual", W - given,
                         check.matrix(module + ".weight_residual"), rtol * W.norm());

    before.push_back({trained.factors(module), trained.scaling(), trained.r});
    after.push_back(preheat::to_plain_lora(be, trained.factors(module), start.factors(module),
                                           trained.scaling()));
  }
  const dense y_trained = output(check, "residual", before);
  const dense y_converted = output(check, "original", after);
  check_close(check, "Y_trained", y_trained, check.tokens("Y_trained"), rtol);
  check_close(check, "Y_converted", y_converted, check.tokens("Y_converted"), rtol);
  check_close(check, "ours, converted and trained", y_converted, y_trained, rtol);

  // Recompression to all the rank there is loses nothing, and the error of r is what is lost, up to
  // the rounding of the factors: their product may be small against them.
  for (std::size_t l = 0; l < modules.size(); ++l) {
    const dense A = host(be, after[l].f.A);
    const dense B = host(be, after[l].f.B);
    const dense whole = B * A;
    const double bound = rtol * A.norm() * B.norm();
    const index_t most = std::min({after[l].rank, whole.rows(), whole.cols()});
    const plain_type same = preheat::recompress(be, after[l], most);
    golden::check_within(check, modules[l] + " recompressed",
                         host(be, same.f.B) * host(be, same.f.A), whole, bound);
    const plain_type small = preheat::recompress(be, after[l], std::min(trained.r, most));
    const dense lost = whole - host(be, small.f.B) * host(be, small.f.A);
    golden::check_within(check, modules[l] + " error", dense::Constant(1, 1, small.error),
                         dense::Constant(1, 1, lost.norm() / whole.norm()), bound / whole.norm());
  }
}

}  // namespace

TEST_CASE("golden conversion: pissa") {
  check_conversion("conversion/pissa");
}
TEST_CASE("golden conversion: pissa_rslora") {
  check_conversion("conversion/pissa_rslora");
}
TEST_CASE("golden conversion: olora") {
  check_conversion("conversion/olora");
}
