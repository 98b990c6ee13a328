// Optimizers of pairs (A, B) on recorded gradients of two layers: LoRA+, LoRA-FA and the Riemannian
// preconditioner, against PEFT's. Their numbers are read from the recorded call.
#include "fixtures.hpp"

#include <algorithm>
#include <preheat/adapter/asymmetric.hpp>
#include <preheat/cpu/backend.hpp>
#include <preheat/optim/lora_fa.hpp>
#include <preheat/optim/lora_plus.hpp>
#include <preheat/optim/scaled.hpp>
#include <string>

namespace {

using golden::check_close;
using golden::fixture;
using golden::host;
using golden::index_t;
using preheat::parameter_role;

constexpr double rtol = 1e-12;
constexpr double pinv_rtol = 1e-9;

using backend_type = preheat::cpu<double>;
template <class Adapter>
using params_of = typename Adapter::template params<backend_type>;

// The number after a name in a call: "reg=1e-2", or "ratio 8".
class recorded_call {
 public:
  explicit recorded_call(const fixture& file)
      : file_(&file), text_(file.param<std::string>("call")) {}

  bool names(const std::string& word) const { return text_.find(word) != std::string::npos; }
  double number(const std::string& name) const {
    const std::size_t at = place_of(name);
    if (at == std::string::npos) {
      file_->fail("has no number for " + name + " in the call " + text_);
    }
    return std::stod(text_.substr(at));
  }
  double number(const std::string& name, double otherwise) const {
    return place_of(name) == std::string::npos ? otherwise : number(name);
  }

 private:
  // Where the number begins; the name is a whole word.
  std::size_t place_of(const std::string& name) const {
    const std::string letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    for (std::size_t at = text_.find(name); at != std::string::npos;
         at = text_.find(name, at + 1)) {
      const std::size_t end = at + name.size();
      const bool begins = at == 0 || letters.find(text_[at - 1]) == std::string::npos;
      if (begins && end < text_.size() && (text_[end] == '=' || text_[end] == ' ')) {
        return end + 1;
      }
    }
    return std::string::npos;
  }

  const fixture* file_;
  std::string text_;
};

// Steps through all recorded gradients of every layer, and compares both factors wherever they were
// recorded.
template <class Adapter, class Optim>
void replay(const Optim& optim, const fixture& file, double tolerance) {
  backend_type be;
  const std::vector<index_t> recorded = file.param<std::vector<index_t>>("steps");
  REQUIRE_FALSE(recorded.empty());
  REQUIRE(file.contains("A1_0"));
  for (index_t l = 1; file.contains("A" + std::to_string(l) + "_0"); ++l) {
    const std::string A = "A" + std::to_string(l);
    const std::string B = "B" + std::to_string(l);
    params_of<Adapter> p{file.matrix(A + "_0"), file.matrix(B + "_0")};
    auto state = optim.start(be, p);
    preheat::step_context context;
    context.learning_rate = preheat::learning_rate(optim);
    context.scaling = file.param<double>("scaling");
    const index_t gradients = file.count("grad_" + B);
    REQUIRE(*std::max_element(recorded.begin(), recorded.end()) <= gradients);
    for (index_t k = 1; k <= gradients; ++k) {
      params_of<Adapter> gradient;
      preheat::for_each_trained(
          [&](auto parameter, auto& g) {
            g = preheat::mat<backend_type>(
                file.slice("grad_" + (parameter.role == parameter_role::A ? A : B), k - 1));
          },
          gradient);
      context.step = k - 1;
      optim.step(be, p, gradient, state, context);
      if (std::find(recorded.begin(), recorded.end(), k) != recorded.end()) {
        const std::string number = "_" + std::to_string(k);
        check_close(file, A + number, host(be, p.A), file.matrix(A + number), tolerance);
        check_close(file, B + number, host(be, p.B), file.matrix(B + number), tolerance);
      }
    }
  }
}

// AdamW or SGD, by the call; `decay` is the name of its weight decay there. What the call does not
// say is the peer's default.
template <class Check>
void with_base(const fixture& file, const std::string& decay, double default_decay, Check check) {
  const recorded_call call(file);
  const double lr = file.param<double>("lr");
  if (call.names("AdamW")) {
    check(preheat::optim::adamw{.lr = lr,
                                .epsilon = call.number("eps", 1e-8),
                                .weight_decay = call.number(decay, default_decay)});
  } else if (call.names("SGD")) {
    check(preheat::optim::sgd{
        .lr = lr, .momentum = call.number("momentum", 0), .weight_decay = call.number(decay, 0)});
  } else {
    file.fail("has a call with neither AdamW nor SGD");
  }
}

void check_lora_plus(const fixture& file) {
  const recorded_call call(file);
  const double ratio =
      call.names("loraplus_lr_ratio") ? call.number("loraplus_lr_ratio") : call.number("ratio");
  // PEFT's own decay is 0, and it ignores the optimizer's.
  with_base(file, "loraplus_weight_decay", 0, [&]<class Base>(const Base& base) {
    for (const bool peft_groups : {false, true}) {  // there is nothing but A and B
      const preheat::optim::lora_plus<Base> optim{
          .base = base, .ratio = ratio, .peft_groups = peft_groups};
      replay<preheat::adapter::lora>(optim, file, rtol);
    }
  });
}

void check_riemannian(const fixture& file) {
  const double reg = recorded_call(file).number("reg");
  with_base(file, "weight_decay", preheat::optim::adamw{}.weight_decay,
            [&]<class Base>(const Base& base) {
              const preheat::optim::scaled<Base> optim{.base = base, .delta = reg};
              replay<preheat::adapter::lora>(optim, file, pinv_rtol);
            });
}

void check_lora_fa(const fixture& file) {
  const preheat::optim::lora_fa optim{
      .lr = file.param<double>("lr"),
      .weight_decay = recorded_call(file).number("weight_decay", 0)};
  replay<preheat::adapter::asymmetric<parameter_role::B>>(optim, file, pinv_rtol);
  replay<preheat::adapter::lora>(optim, file, pinv_rtol);  // A has a gradient, and stays
}

}  // namespace

PREHEAT_GOLDEN("optim", "loraplus_adamw", check_lora_plus)
PREHEAT_GOLDEN("optim", "loraplus_adamw_wd", check_lora_plus)
PREHEAT_GOLDEN("optim", "loraplus_sgd", check_lora_plus)
PREHEAT_GOLDEN("optim", "lorafa", check_lora_fa)
PREHEAT_GOLDEN("optim", "lorafa_wd", check_lora_fa)
PREHEAT_GOLDEN("optim", "lorafa_rslora", check_lora_fa)
PREHEAT_GOLDEN("optim", "riemannian_sgd", check_riemannian)
PREHEAT_GOLDEN("optim", "riemannian_adamw", check_riemannian)
