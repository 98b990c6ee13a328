// HRP composes: preheated starts, and drawn ones, of optimizers and of rank policies; and `with`,
// which swaps one policy of a method and keeps the others.
#include "compositions.hpp"

using namespace conformance;

TEST_CASE("compositions: LoRA-Pro moves a pair from any start") {
  check_matrix<lora_pro>([](auto& m) { m.optim.lr = 0.02; });
}

TEST_CASE("compositions: LoRA-Pro by factors moves a pair from any start") {
  check_matrix<lora_pro_factored>([](auto& m) {
    m.optim.base.lr = 0.02;
    m.optim.plain_steps = 3;
  });
}

TEST_CASE("compositions: RM-LoRA regularizes and masks factors from any start") {
  check_matrix<rm_lora>([](auto& m) { m.optim.base.base.lr = 0.03; });
}

TEST_CASE("compositions: PRILoRA's ranks and prunings take any start") {
  check_matrix<prilora>([](auto& m) {
    m.optim.lr = 0.02;
    m.rank.every = 10;
  });
}

namespace {

// The five policies of a method, as types.
template <class M>
using policies = std::tuple<typename M::adapter_type, typename M::init_type, typename M::optim_type,
                            typename M::rank_type, typename M::chain_type>;

template <class M, class... Policies>
inline constexpr bool made_of = std::same_as<policies<M>, std::tuple<Policies...>>;

using train_b = adapter::asymmetric<parameter_role::B>;
using sora_optim = optim::proximal<>;

}  // namespace

TEST_CASE("with: the policy of one axis is swapped and the others stay") {
  // Policies that the method lists, on every axis.
  static_assert(made_of<with<rac_lora, init::hrp<>>, train_b, init::hrp<>,
                        optim::scaled<optim::sgd>, rank::fixed, chain::merge_every>);
  static_assert(made_of<with<rac_lora, adapter::lora>, adapter::lora, init::orthogonal,
                        optim::scaled<optim::sgd>, rank::fixed, chain::merge_every>);
  static_assert(made_of<with<rac_lora, optim::adam>, train_b, init::orthogonal, optim::adam,
                        rank::fixed, chain::merge_every>);
  static_assert(made_of<with<rac_lora, chain::none>, train_b, init::orthogonal,
                        optim::scaled<optim::sgd>, rank::fixed, chain::none>);
  static_assert(made_of<with<sora, rank::fixed>, adapter::gated<>, init::kaiming, sora_optim,
                        rank::fixed, chain::none>);
  // Axes that the method does not list.
  static_assert(made_of<with<sora, init::gaussian>, adapter::gated<>, init::gaussian, sora_optim,
                        rank::sparse_gate, chain::none>);
  static_assert(made_of<with<lora, chain::merge_every>, adapter::lora, init::kaiming, optim::adamw,
                        rank::fixed, chain::merge_every>);
  static_assert(made_of<with<lora, rank::linear>, adapter::lora, init::kaiming, optim::adamw,
                        rank::linear, chain::none>);
  static_assert(std::same_as<policies<with<lora, chain::merge_every>>, policies<cola>>);
  // Twice, once for all axes; the last word counts.
  static_assert(made_of<with<with<rac_lora, init::hrp<>>, init::gaussian>, train_b, init::gaussian,
                        optim::scaled<optim::sgd>, rank::fixed, chain::merge_every>);
  static_assert(std::same_as<with<lora, init::kaiming>, method<init::kaiming>>);
  static_assert(std::same_as<policies<with<hrp<>, init::kaiming>>, policies<lora>>);
  // An adapter without factors keeps its own, and gives it up again.
  static_assert(made_of<with<full_fine_tuning, optim::sgd>, adapter::full, init::kaiming,
                        optim::sgd, rank::fixed, chain::none>);
  static_assert(made_of<with<full_fine_tuning, adapter::lora>, adapter::lora, init::kaiming,
                        optim::adamw, rank::fixed, chain::none>);
  static_assert(made_of<with<with<full_fine_tuning, adapter::lora>, init::pissa>, adapter::lora,
                        init::pissa, optim::adamw, rank::fixed, chain::none>);
  // What a method says of W follows its policies.
  static_assert(lora::leaves_base && !with<lora, chain::merge_every>::leaves_base);
  static_assert(!with<lora, init::pissa>::leaves_base);
  static_assert(with<rac_lora, chain::none>::leaves_base);

  // And it trains: RAC-LoRA's first block, for a whole run, is asymmetric LoRA by scaled SGD.
  const auto losses = [](auto m) {
    m.optim.base.lr = 0.05;
    toy_task<cpu_double> task;
    return fit(m, task.net, task.data, {.rank = 2, .steps = 6}).losses;
  };
  const auto swapped = losses(with<rac_lora, chain::none>{});
  CHECK(swapped == losses(method<train_b, init::orthogonal, optim::scaled<optim::sgd>>{}));
  CHECK(swapped != losses(with<with<rac_lora, chain::none>, init::gaussian>{}));
  CHECK(swapped.front() > swapped.back());
}
